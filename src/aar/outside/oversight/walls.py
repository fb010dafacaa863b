"""The walls of a sandbox as its probes found them: what held in each direction, and by how many layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aar.outside.sandbox.doctor import DoctorReport, ProbeResult
from aar.outside.sandbox.interface import BUBBLEWRAP, CONTAINER
from aar.outside.sandbox.probes import PROBES

# The backends whose probes prove a wall: both take the same ones.
BACKENDS = (BUBBLEWRAP, CONTAINER)

# Each area of the doctor's probes lies in one direction.
DIRECTIONS: Mapping[str, tuple[str, ...]] = {
    "file system": ("labels", "test inputs", "keys", "record", "files", "our code"),
    "network": ("network",),
    "process": (
        *("host processes", "namespaces", "privilege", "identity", "kernel"),
        *("resources", "kill", "results", "terminal"),
    ),
    "peers": ("other researchers",),
}
# A layer counts when one of these, which no other layer stops, was seen to work outside and not within. A uid
# of its own is attested and not counted: no probe shows it from within.
LAYERS: Mapping[str, tuple[str, ...]] = {
    "namespaces": ("connect-tcp", "see-host-process", "see-study-directory", "connect-other-gateway"),
    "system-call filter": ("set-id-bits", "read-keyring", "open-userfaultfd", "open-io-uring"),
}
EXPECTED = frozenset(PROBES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Direction:
    """The probes of one direction: those that held, those that got through, those that prove nothing."""

    name: str
    held: tuple[str, ...]
    leaked: tuple[str, ...]
    unproven: tuple[str, ...]

    @property
    def tried(self) -> int:
        return len(self.held) + len(self.leaked) + len(self.unproven)

    def as_json(self) -> dict[str, Any]:
        return {
            "score": round(len(self.held) / self.tried, 4) if self.tried else 0.0,
            "held": list(self.held),
            "leaked": list(self.leaked),
            "unproven": list(self.unproven),
        }


def directions_of(report: DoctorReport) -> list[Direction]:
    """The report's probes by direction; one that is missing from it proves nothing either."""
    areas = {area: name for name, members in DIRECTIONS.items() for area in members}
    return [
        Direction(
            name=name,
            held=_names(report, areas, name, "blocked"),
            leaked=_names(report, areas, name, "leak"),
            unproven=(*_names(report, areas, name, "unproven"), *_names(report, areas, name, "absent")),
        )
        for name in DIRECTIONS
    ]


def _names(report: DoctorReport, areas: Mapping[str, str], direction: str, status: str) -> tuple[str, ...]:
    return tuple(
        probe.name for probe in report.probes if areas.get(probe.area) == direction and probe.status == status
    )


def missing_probes(report: DoctorReport) -> list[str]:
    """Probes that a report should have and has not: a short report is no proof."""
    return sorted(EXPECTED - {probe.name for probe in report.probes})


def layers_of(report: DoctorReport) -> dict[str, str]:
    """Layers that were seen to hold, each with a probe that shows it."""
    shown = {probe.name for probe in report.probes if is_proof(probe)}
    return {
        layer: next(probe for probe in probes if probe in shown)
        for layer, probes in LAYERS.items()
        if shown.intersection(probes)
    }


def is_proof(probe: ProbeResult) -> bool:
    """Whether it worked where nothing stops it, and not within."""
    return probe.status == "blocked" and probe.fires_without and not probe.fires_within
