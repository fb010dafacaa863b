"""What a backend is to the launcher, and the names of those that there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from aar.outside.sandbox.spec import Reason, SandboxSpec

BUBBLEWRAP, CONTAINER, BARE = "bubblewrap", "container", "bare"
# A person names one of them, and it is that one or none: nothing here takes another in its place.
BACKENDS = (BUBBLEWRAP, CONTAINER, BARE)
DEFAULT_BACKEND = BUBBLEWRAP


@dataclass(frozen=True, slots=True)
class Started:
    """A sandbox that was started: the child of the launcher that stands for it, and what it says.

    `status_fd` (not blocking) reads lines of JSON: {"child-pid": N}, the first process inside by its number
    out here, and at the end {"exit-code": N}, perhaps with "oom-kills". With `is_program` the child is the
    program itself, and nothing is said. With `is_told_to_end` it ends the sandbox and itself on SIGTERM, and
    would leave something of it if it were killed. `staged` is what `Backend.release` takes back at the end.
    `group` is the name of its control group, where there is one.
    """

    pid: int
    status_fd: int
    staged: tuple[str, ...]
    is_program: bool = False
    is_told_to_end: bool = False
    group: str = ""


class Backend(Protocol):
    """One way to start sandboxes, prepared once for all of a launcher.

    How to prepare one, what it attests and what it lacks here is said by name, in `choice`.
    """

    def start(self, spec: SandboxSpec, number: int, stdio: Sequence[int], files: Sequence[int]) -> Started:
        """Start one with `stdio` (input, output, error) and the contents of `spec.files`, in their order.

        `number` tells the sandboxes of this launcher apart. Called in the thread that lives as long as they
        do. Raises `SandboxRefused` and `OSError`.
        """
        ...

    def cpu_s(self, started: Started) -> float:
        """Processor seconds of all that ever ran in it, as the kernel counts them; 0 where it does not."""
        ...

    def named(self, started: Started) -> None:
        """Its first process has been named: what it has a copy of may go from the launcher's own view."""
        ...

    def ended(self, started: Started) -> tuple[Reason, str] | None:
        """Its child has ended and is not reaped yet: what may be left of it ends now.

        Why it ended and details, where the backend knows better than its exit status.
        """
        ...

    def release(self, started: Started) -> None:
        """All of it is reaped: take back what its start laid out."""
        ...
