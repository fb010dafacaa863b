"""Start one bubblewrap: descriptors, identity and paths ready, nothing else inherited."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Self

from aar.outside.sandbox import backend, runtime, seccomp
from aar.outside.sandbox.argv import Handed, Layout, bwrap_options, etc_files, limited
from aar.outside.sandbox.groups import Groups, limits_of, new_name
from aar.outside.sandbox.identity import slot_uid
from aar.outside.sandbox.interface import Started
from aar.outside.sandbox.protocol import memory_file
from aar.outside.sandbox.shell import INSTALL, with_shell
from aar.outside.sandbox.spec import (
    MAY_HAVE_A_SHELL,
    PROFILES,
    Reason,
    SandboxRefused,
    SandboxSpec,
    SandboxUnavailable,
)
from aar.outside.sandbox.stage import Stage, detach, unbind
from aar.outside.sandbox.staging import gateway_on
from aar.outside.sandbox.tree import Tree, grown, tree_of


@dataclass(frozen=True, slots=True)
class Bubblewrap:
    """What all sandboxes of one launcher share; `layouts` by profile and whether there is a shell."""

    path: str
    nested_userns_off: bool
    layouts: dict[tuple[str, bool], Layout]
    filters: tuple[bytes, ...]
    # Where we are root.
    stage: Stage | None
    trees: dict[tuple[str, bool], Tree] = field(default_factory=dict)
    # Where control groups can be made.
    groups: Groups | None = None

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
        # Before the stage covers the place where they are.
        groups = Groups.find()
        stage, trees = None, {}
        if slot_uid(0) is not None:
            stage = Stage.enter(
                directory for layout in layouts.values() for directory in runtime.directories_of(layout)
            )
            trees = {kind: tree_of(layout, stage.places) for kind, layout in layouts.items()}
        return cls(path, "--disable-userns" in features, layouts, filters, stage, trees, groups)

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
        group = ""
        try:
            if self.groups is not None:
                group = new_name()
                self.groups.make(group, limits_of(spec))
            gateway = None
            if spec.gateway_dir is not None:
                gateway = gateway_on(self.stage, spec.gateway_dir, number, staged)
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
            # A process is born into its parent's group, so that there is no moment in which it is in none.
            with nullcontext() if self.groups is None else self.groups.entered(group):
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
                    # Never the host's uid 0, whatever bubblewrap maps it to: that one writes /proc/sys with
                    # no capability at all.
                    user=uid,
                    group=uid,
                    extra_groups=None if uid is None else [],
                )
        except BaseException:
            os.close(status_fd)
            if self.groups is not None and group:
                self.groups.remove(group)
            _unstage(staged)
            raise
        finally:
            for descriptor in own:
                os.close(descriptor)
        # The caller waits for it with wait4; Popen must not reap it first.
        process.returncode = 0
        os.set_blocking(status_fd, False)
        return Started(process.pid, status_fd, tuple(staged), group=group)

    def _layout(self, spec: SandboxSpec, number: int, staged: list[str]) -> Layout:
        """What it sees, by paths that its uid can walk."""
        kind = spec.profile, spec.has_shell
        if kind not in self.layouts:
            raise SandboxRefused(INSTALL)
        if self.stage is None:
            return self.layouts[kind]
        return grown(self.trees[kind], self.stage, number, staged)

    def cpu_s(self, started: Started) -> float:
        """As its control group counts it; 0 without one."""
        return 0.0 if self.groups is None else self.groups.cpu_s(started.group)

    def named(self, started: Started) -> None:
        """It has mounts of its own since before it was named: those here would be copied for all others."""
        for place in started.staged:
            detach(place)

    def ended(self, started: Started) -> tuple[Reason, str] | None:
        """Whether it ended for want of memory. Nothing outlives its namespace, which the launcher ends."""
        if self.groups is None:
            return None
        kills = self.groups.oom_kills(started.group)
        return ("memory", f"the kernel ended {kills} of it") if kills else None

    def release(self, started: Started) -> None:
        """Take back what its start put on the stage, and its group."""
        _unstage(started.staged)
        if self.groups is not None:
            self.groups.remove(started.group)


def _unstage(staged: Iterable[str]) -> None:
    for place in staged:
        unbind(place)


def _held(own: list[int], content: bytes) -> int:
    own.append(memory_file(content))
    return own[-1]
