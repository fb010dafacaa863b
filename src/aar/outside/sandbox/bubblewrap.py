"""Start one bubblewrap: descriptors, identity and paths ready, nothing else inherited."""

from __future__ import annotations

import contextlib
import os
import platform
import stat
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from aar.outside.sandbox import backend, runtime, seccomp
from aar.outside.sandbox.argv import Handed, Layout, bwrap_options, etc_files, limited
from aar.outside.sandbox.identity import slot_uid
from aar.outside.sandbox.protocol import memory_file
from aar.outside.sandbox.shell import INSTALL, with_shell
from aar.outside.sandbox.spec import (
    MAY_HAVE_A_SHELL,
    PROFILES,
    SandboxRefused,
    SandboxSpec,
    SandboxUnavailable,
)
from aar.outside.sandbox.stage import Stage, bind_directory, unbind


@dataclass(frozen=True, slots=True)
class Started:
    """A bubblewrap that runs: its process, and where it writes JSON about the sandbox (not blocking).

    `staged` is what `Bubblewrap.release` must take back at the end.
    """

    pid: int
    status_fd: int
    staged: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Bubblewrap:
    """What all sandboxes of one launcher share; `layouts` by profile and whether there is a shell."""

    path: str
    nested_userns_off: bool
    layouts: dict[tuple[str, bool], Layout]
    filters: tuple[bytes, ...]
    stage: Stage | None  # where we are root

    @classmethod
    def prepare(cls) -> Self:
        """Find everything once and, as root, move this process to a mount namespace of its own.

        Raises `SandboxUnavailable` or `UnsupportedArchitecture` with what is missing.
        """
        path = backend.find_bubblewrap()
        machine = platform.machine()
        filters = (seccomp.ceiling_filter(machine), seccomp.main_filter(machine))
        layouts = {(profile, False): runtime.layout_for(profile) for profile in PROFILES}
        # A machine without a shell still runs all that needs none.
        with contextlib.suppress(SandboxUnavailable):
            layouts |= {(profile, True): with_shell(layouts[profile, False]) for profile in MAY_HAVE_A_SHELL}
        features = backend.features(path)
        stage = None
        if slot_uid(0) is not None:
            stage = Stage.enter(
                directory for layout in layouts.values() for directory in runtime.directories_of(layout)
            )
        return cls(path, "--disable-userns" in features, layouts, filters, stage)

    def start(self, spec: SandboxSpec, number: int, stdio: Sequence[int], files: Sequence[int]) -> Started:
        """Start it with `stdio` (input, output, error) and the contents of `spec.files`, in their order.

        `number` tells the sandboxes of this launcher apart. Call it in the thread that lives as long as the
        sandboxes: bubblewrap dies with the thread that started it. Raises `SandboxRefused` and `OSError`.
        """
        uid = None if self.stage is None else slot_uid(spec.uid_slot)
        staged: list[str] = []
        own: list[int] = []
        status_fd, status_out = os.pipe()
        own.append(status_out)
        try:
            gateway = None if spec.gateway_dir is None else self._gateway(spec.gateway_dir, number, staged)
            layout = self._layout(spec, number, staged)
            etc = [(dest, _held(own, content)) for dest, content in etc_files(spec).items()]
            filters = [_held(own, program) for program in self.filters]
            options = bwrap_options(
                spec,
                layout,
                Handed([*etc, *zip(spec.files, files, strict=True)], filters),
                gateway=gateway,
                nested_userns_off=self.nested_userns_off,
            )
            arguments = _held(own, "\0".join([*options, ""]).encode())
            words = ["--json-status-fd", str(status_out), "--args", str(arguments), "--", *limited(spec)]
            process = subprocess.Popen(
                [self.path, *words],
                stdin=stdio[0],
                stdout=stdio[1],
                stderr=stdio[2],
                pass_fds=[*own, *files],
                # All that /proc/1/environ in there shows.
                env={"PATH": "/usr/bin:/bin"},
                cwd="/",
                umask=0o077,
                # Never the host's uid 0, whatever bubblewrap maps it to: that one writes /proc/sys with no
                # capability at all.
                user=uid,
                group=uid,
                extra_groups=None if uid is None else [],
            )
        except BaseException:
            os.close(status_fd)
            self.release(staged)
            raise
        finally:
            for descriptor in own:
                os.close(descriptor)
        # The caller waits for it with wait4; Popen must not reap it first.
        process.returncode = 0
        os.set_blocking(status_fd, False)
        return Started(process.pid, status_fd, tuple(staged))

    def release(self, staged: Iterable[str]) -> None:
        """Take back what a start put on the stage."""
        for place in staged:
            unbind(place)

    def _layout(self, spec: SandboxSpec, number: int, staged: list[str]) -> Layout:
        """The profile's layout by paths that the sandbox's uid can walk."""
        layout = self.layouts.get((spec.profile, spec.has_shell))
        if layout is None:
            raise SandboxRefused(INSTALL)
        if self.stage is None:
            return layout
        places = self.stage.view(runtime.directories_of(layout), number)
        if self.stage.has_views:
            staged += places.values()
        return runtime.moved(layout, places)

    def _gateway(self, path: str, number: int, staged: list[str]) -> str:
        """Where the sandbox's uid reaches the gateway directory, which must hold sockets and nothing else."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            for name in os.listdir(descriptor):
                if not stat.S_ISSOCK(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
                    raise SandboxRefused(f"gateway directory {path} holds {name!r}: want sockets only")
            if self.stage is None:
                return os.path.realpath(path)
            if not os.fstat(descriptor).st_mode & 0o001:
                raise SandboxRefused(f"gateway directory {path} is closed to the sandbox: want mode 0711")
            staged.append(bind_directory(descriptor, f"gateway-{number}"))
            return staged[-1]
        finally:
            os.close(descriptor)


def _held(own: list[int], content: bytes) -> int:
    own.append(memory_file(content))
    return own[-1]
