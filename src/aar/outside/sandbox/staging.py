"""What one sandbox sees of the host, by paths that its uid can walk: the runtime, and its gateway."""

from __future__ import annotations

import os
import stat

from aar.outside.sandbox import runtime
from aar.outside.sandbox.argv import Layout
from aar.outside.sandbox.spec import SandboxRefused
from aar.outside.sandbox.stage import Stage


def layout_on(stage: Stage | None, layout: Layout, number: int, staged: list[str]) -> Layout:
    """The layout of sandbox `number`, where it is on the stage; what was put there is added to `staged`."""
    if stage is None:
        return layout
    places = stage.view(runtime.directories_of(layout), number)
    if stage.has_views:
        staged += places.values()
    return runtime.moved(layout, places)


def gateway_on(stage: Stage | None, path: str, number: int, staged: list[str]) -> str:
    """Where sandbox `number` reaches its gateway directory, which must hold sockets and nothing else."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        for name in os.listdir(descriptor):
            if not stat.S_ISSOCK(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
                raise SandboxRefused(f"gateway directory {path} holds {name!r}: want sockets only")
        if stage is None:
            return os.path.realpath(path)
        if not os.fstat(descriptor).st_mode & 0o001:
            raise SandboxRefused(f"gateway directory {path} is closed to the sandbox: want mode 0711")
        staged.append(stage.bind_directory(descriptor, f"gateway-{number}"))
        return staged[-1]
    finally:
        os.close(descriptor)
