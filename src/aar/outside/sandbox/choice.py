"""Which backend starts the sandboxes: the one that a person named, or none. Nothing stands in for another.

The others are imported when they are named: a launcher is up in the half of its time without them.
"""

from __future__ import annotations

from collections.abc import Mapping

from aar.outside.sandbox import backend
from aar.outside.sandbox.bubblewrap import Bubblewrap
from aar.outside.sandbox.interface import BACKENDS, BARE, BUBBLEWRAP, CONTAINER, Backend
from aar.outside.sandbox.spec import SandboxUnavailable


def missing_backend(name: str = BUBBLEWRAP) -> str | None:
    """What keeps this backend from running here, with the line to type; None when nothing does."""
    if name == BUBBLEWRAP:
        return backend.missing_backend()
    if name == CONTAINER:
        from aar.outside.sandbox import container

        return container.missing()
    if name == BARE:
        from aar.outside.sandbox import bare

        return bare.missing()
    return unknown(name)


def prepared(name: str, agents: Mapping[str, str] | None = None) -> Backend:
    """The backend, ready to start sandboxes, with these agents at hand: host paths by name.

    Raises `SandboxUnavailable` or `UnsupportedArchitecture`.
    """
    if name == BUBBLEWRAP:
        return Bubblewrap.prepare(agents)
    if name == CONTAINER:
        from aar.outside.sandbox.container import Container

        return Container.prepare(agents)
    if name == BARE:
        from aar.outside.sandbox.bare import Bare

        return Bare.prepare()
    raise SandboxUnavailable(unknown(name))


def unknown(name: str) -> str:
    """What is said of a backend that there is not."""
    return f"there is no backend {name!r:.40}; there is: {', '.join(BACKENDS)}"
