"""Start one container: an OCI bundle with the same spec, layout, filters and limits as bubblewrap's words.

The runtime is what Docker and podman start their containers with (runc, crun). No engine stands between it
and us: no daemon, no image, no registry, and nothing that outlives the launcher.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from aar.outside.sandbox import runtime, seccomp
from aar.outside.sandbox.argv import (
    ENVIRONMENT,
    GATEWAY_DEST,
    PYTHON,
    SANDBOX_UID,
    Layout,
    etc_files,
    limited,
)
from aar.outside.sandbox.backend import closed_to_others
from aar.outside.sandbox.container_init import FILTERS, HERE
from aar.outside.sandbox.groups import Groups, limits_of, new_name
from aar.outside.sandbox.identity import slot_uid
from aar.outside.sandbox.interface import Started
from aar.outside.sandbox.pressure import MOST_FILES_ON_DISK
from aar.outside.sandbox.shell import with_shell
from aar.outside.sandbox.spec import FILLED_LATER, PROFILES, SandboxSpec, SandboxUnavailable
from aar.outside.sandbox.stage import Stage, unbind
from aar.outside.sandbox.staging import gateway_on, layout_on

RUNTIMES = ("runc", "crun")
INSTALL = "no runc or crun is installed: type `sudo apt-get install runc`"
NOT_ROOT = (
    "containers are started as root only: type the command after `sudo`, or leave --backend container out"
)
NO_GROUPS = (
    "no control groups can be made in /sys/fs/cgroup: mount it writable (docker: `--privileged`, or "
    "`--cgroupns host -v /sys/fs/cgroup:/sys/fs/cgroup`), or leave --backend container out"
)
# The stage of bubblewrap covers all of /sys, and with it the cgroups that a container's runtime looks for.
_PLACE = "/sys/block"
# Slots of the sandboxes' own roots, which own nothing: apart from those of the programs.
_ROOT_SLOTS = 60_000
_MIB = 1 << 20
# Of each file system: far beyond what is counted and ended as a bomb, and a bound where that comes late.
_INODES = 4 * MOST_FILES_ON_DISK
_CGROUPS = Path("/sys/fs/cgroup")
_HERE = Path(__file__).parent
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")


def missing() -> str | None:
    """What keeps containers from running here, with the line to type; None when nothing does."""
    try:
        seccomp.main_filter(platform.machine())
        find_runtime()
        _ids(0)
        return closed_to_others()
    except (SandboxUnavailable, seccomp.UnsupportedArchitecture) as error:
        return f"{error}"


def find_runtime() -> str:
    """The path of the first runtime there is; `SandboxUnavailable` with the line to type without."""
    for name in RUNTIMES:
        path = shutil.which(name, path="/usr/bin:/usr/sbin:/bin:/sbin:/usr/local/bin:/usr/local/sbin")
        if path is not None:
            return path
    raise SandboxUnavailable(INSTALL)


def version(path: str) -> str:
    """Such as "runc 1.1.5"."""
    told = subprocess.run(
        [path, "--version"], capture_output=True, text=True, env={}, timeout=10, check=False
    )
    words = told.stdout.split("\n", 1)[0].replace(" version ", " ").strip()
    return words or "unknown"


def _ids(slot: int) -> tuple[int, int]:
    """Host ids of a sandbox's program and of its root."""
    uid, root = slot_uid(slot), slot_uid(_ROOT_SLOTS + slot)
    if uid is None or root is None:
        raise SandboxUnavailable(NOT_ROOT)
    return uid, root


@dataclass(frozen=True, slots=True)
class Container:
    """What all containers of one launcher share."""

    runtime: str
    layouts: dict[str, Layout]
    filters: tuple[bytes, ...]
    stage: Stage

    @classmethod
    def prepare(cls) -> Self:
        """Find everything once, sweep what dead launchers left, and move to a mount namespace of our own.

        Raises `SandboxUnavailable` or `UnsupportedArchitecture` with what is missing.
        """
        path = find_runtime()
        _ids(0)
        machine = platform.machine()
        filters = (seccomp.ceiling_filter(machine), seccomp.main_filter(machine))
        layouts = {profile: runtime.layout_for(profile) for profile in PROFILES}
        views = [*layouts.values()]
        with contextlib.suppress(SandboxUnavailable):
            views.append(with_shell(layouts["researcher"]))
        directories = [one for layout in views for one in runtime.directories_of(layout)]
        groups = Groups.find()
        if groups is None:
            raise SandboxUnavailable(NO_GROUPS)
        groups.close()
        stage = Stage.enter(directories, place=_PLACE, size="64m")
        os.mkdir(f"{stage.place}/state", 0o700)
        return cls(path, layouts, filters, stage)

    def start(self, spec: SandboxSpec, number: int, stdio: Sequence[int], files: Sequence[int]) -> Started:
        """Start it with `stdio` (input, output, error) and the contents of `spec.files`, in their order.

        Raises `SandboxRefused` and `OSError`.
        """
        name = new_name()
        bundle = f"{self.stage.place}/{name}"
        staged: list[str] = []
        status_fd, status_out = os.pipe()
        try:
            gateway = None
            if spec.gateway_dir is not None:
                gateway = gateway_on(self.stage, spec.gateway_dir, number, staged)
            layout = self.layouts[spec.profile]
            if spec.has_shell:
                layout = with_shell(layout)
            layout = layout_on(self.stage, layout, number, staged)
            staged.append(bundle)
            self._lay_root(f"{bundle}/root", spec, layout, files, gateway)
            config = oci_config(spec, layout, gateway=gateway, ids=_ids(spec.uid_slot), group=name)
            Path(bundle, "config.json").write_text(json.dumps(config))
            limits, oom = group_files(name, config["linux"]["resources"])
            told = {
                "status_fd": status_out,
                "runtime": [self.runtime, "--root", f"{self.stage.place}/state"],
                "bundle": bundle,
                "name": name,
                "limits": limits,
                "oom": oom,
            }
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_HERE / "container_monitor.py"), json.dumps(told)],
                stdin=stdio[0],
                stdout=stdio[1],
                stderr=stdio[2],
                pass_fds=[status_out],
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
                cwd="/",
                umask=0o022,
            )
        except BaseException:
            os.close(status_fd)
            _unstage(staged)
            raise
        finally:
            os.close(status_out)
        # The caller waits for it with wait4; Popen must not reap it first.
        process.returncode = 0
        os.set_blocking(status_fd, False)
        return Started(process.pid, status_fd, tuple(staged), is_told_to_end=True)

    def cpu_s(self, _started: Started) -> float:
        """Nobody counts it but the processes themselves."""
        return 0.0

    def named(self, started: Started) -> None:
        """Its runtime may still be mounting."""

    def ended(self, started: Started) -> None:
        """Nothing of it outlives its namespace, whose first process the launcher ends."""

    def release(self, started: Started) -> None:
        """Take back what its start put on the stage."""
        _unstage(started.staged)

    def _lay_root(
        self, root: str, spec: SandboxSpec, layout: Layout, files: Sequence[int], gateway: str | None
    ) -> None:
        """The root directory: what is written for this sandbox alone, and where all else will be mounted."""
        own = [*(FILLED_LATER if spec.waits else ()), *(["/var/tmp"] if spec.has_shell else [])]
        for folder in ("/proc", "/dev", "/tmp", "/workspace", "/run", "/opt", "/etc", *own):
            os.makedirs(root + folder)
        # A runtime gives what it mounts there the mode of what it found, whatever the mount itself asks for.
        os.chmod(f"{root}/tmp", 0o1777)  # noqa: S103 - inside
        for bind in layout.binds:
            _make_place(root, bind.dest, is_directory=os.path.isdir(bind.source))
        for target, path in layout.symlinks:
            os.symlink(target, root + path)
        if gateway is not None:
            os.makedirs(root + GATEWAY_DEST)
        for dest, content in etc_files(spec).items():
            Path(root + dest).write_bytes(content)
        os.makedirs(root + HERE)
        for name, program in zip(FILTERS, self.filters, strict=True):
            Path(root + HERE, name).write_bytes(program)
        shutil.copyfile(_HERE / "container_init.py", f"{root}{HERE}/init.py")
        for dest, descriptor in zip(spec.files, files, strict=True):
            place = Path(root + (HERE + dest if dest.startswith("/workspace/") else dest))
            place.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.dup(descriptor), "rb") as handed:
                place.write_bytes(handed.read())


def _unstage(staged: Iterable[str]) -> None:
    for place in staged:
        if os.path.ismount(place):
            unbind(place)
        else:
            shutil.rmtree(place, ignore_errors=True)


def oci_config(
    spec: SandboxSpec, layout: Layout, *, gateway: str | None, ids: tuple[int, int], group: str
) -> dict[str, Any]:
    """The bundle's config.json: each wall of `bwrap_options` in an OCI runtime's words.

    `ids` are the host ids of the program and of the container's own root; `group` names its cgroup.
    """
    quiet = ["nosuid", "nodev"]
    mounts = [_bind(bind.source, bind.dest) for bind in layout.binds]
    mounts += [_tmpfs(mask, 4 * _MIB, "0755", "ro") for mask in layout.masks]
    mounts.append({"destination": "/proc", "type": "proc", "source": "proc", "options": [*quiet, "noexec"]})
    mounts.append(_tmpfs("/dev", _MIB, "0755"))
    mounts.append(_tmpfs("/dev/shm", _share(spec, 4), "1777"))
    mounts.append(_tmpfs("/tmp", _share(spec, 4), "1777"))
    owner = [f"uid={SANDBOX_UID}", f"gid={SANDBOX_UID}"]
    mounts.append(_tmpfs("/workspace", _share(spec, 2), "0755", *owner))
    if spec.has_shell:
        mounts.append(_tmpfs("/var/tmp", _share(spec, 8), "1777"))
    for folder in FILLED_LATER if spec.waits else ():
        mounts.append(_tmpfs(folder, _share(spec, 4), "0755", *owner))
    if gateway is not None:
        mounts.append(_bind(gateway, GATEWAY_DEST))
    uid, root = ids
    mapping = [
        {"containerID": 0, "hostID": root, "size": 1},
        {"containerID": SANDBOX_UID, "hostID": uid, "size": 1},
    ]
    environment = {**ENVIRONMENT, **spec.env}
    return {
        "ociVersion": "1.0.2",
        "root": {"path": "root", "readonly": True},
        "hostname": "sandbox",
        "process": {
            "terminal": False,
            "user": {"uid": SANDBOX_UID, "gid": SANDBOX_UID, "umask": 0o022},
            "args": [PYTHON, "-I", "-S", f"{HERE}/init.py", *limited(spec)],
            "env": [f"{name}={value}" for name, value in environment.items()],
            "cwd": "/workspace",
            "capabilities": {
                kind: [] for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")
            },
            "noNewPrivileges": True,
        },
        "mounts": mounts,
        "linux": {
            "namespaces": [
                {"type": kind} for kind in ("user", "pid", "network", "ipc", "uts", "mount", "cgroup")
            ],
            "uidMappings": mapping,
            "gidMappings": mapping,
            "cgroupsPath": f"/{group}" if _is_unified() else group,
            "resources": {name: {"limit": limit} for name, limit in limits_of(spec).items()},
            "maskedPaths": [*layout.hidden_proc],
            "readonlyPaths": ["/proc/sys"],
        },
    }


def _bind(source: str, dest: str) -> dict[str, Any]:
    options = ["bind", "ro", "nosuid", "nodev", "rprivate"]
    return {"destination": dest, "type": "bind", "source": source, "options": options}


def _tmpfs(path: str, size: int, mode: str, *more: str) -> dict[str, Any]:
    options = ["nosuid", "nodev", f"mode={mode}", f"size={size}", f"nr_inodes={_INODES}", *more]
    return {"destination": path, "type": "tmpfs", "source": "tmpfs", "options": options}


def _share(spec: SandboxSpec, part: int) -> int:
    return max(spec.memory_mib // part, 4) * _MIB


def _make_place(root: str, dest: str, *, is_directory: bool) -> None:
    """Something to mount on."""
    path = Path(root + dest)
    if is_directory:
        path.mkdir(parents=True, exist_ok=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def group_files(group: str, resources: dict[str, Any]) -> tuple[dict[str, int], str]:
    """What the kernel must say of that control group, by file, and where it counts what it ended in there."""
    memory, pids = resources["memory"]["limit"], resources["pids"]["limit"]
    if _is_unified():
        place = _CGROUPS / group
        limits = {str(place / "memory.max"): memory, str(place / "pids.max"): pids}
        return limits, str(place / "memory.events")
    of_memory, of_pids = (_CGROUPS / one / _own_group(one) / group for one in ("memory", "pids"))
    limits = {str(of_memory / "memory.limit_in_bytes"): memory, str(of_pids / "pids.max"): pids}
    return limits, str(of_memory / "memory.oom_control")


def _is_unified() -> bool:
    """Whether control groups are version 2 alone; with both, the controllers are those of version 1."""
    return (_CGROUPS / "cgroup.controllers").exists()


def _own_group(controller: str) -> str:
    """Where we are among the groups of a controller of version 1, below its root."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            return path.lstrip("/")
    return ""
