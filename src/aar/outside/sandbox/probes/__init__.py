"""Everything tried in order to get out: scripts for inside, and what is tried from outside on a real sandbox.

`PROBES` has them all, by name. Those with an attack run in one interpreter, outside and then inside; those
without are judged from outside, by what a sandbox left, told or showed (`aar.outside.sandbox.ends`,
`aar.outside.sandbox.answers`).
"""

from __future__ import annotations

from aar.outside.sandbox.probes import (
    files,
    identity,
    judged,
    kernel,
    network,
    peers,
    processes,
    resources,
)
from aar.outside.sandbox.probes.attempt import CHANNELS, PROBES, Probe

AREAS = (files, peers, processes, kernel, network, identity, resources, judged)

__all__ = ["AREAS", "CHANNELS", "PROBES", "Probe"]
