"""From a spec and a runtime layout to bubblewrap's arguments; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from aar.outside.sandbox.spec import SandboxSpec

SANDBOX_UID = 1000
PYTHON = "/opt/py/bin/python3"
GATEWAY_DEST = "/run/gw"
PRLIMIT = "/usr/bin/prlimit"

# The whole of /etc: names for one account, and host look-ups that end at the loopback.
ETC_FILES: dict[str, bytes] = {
    "/etc/passwd": b"agent:x:1000:1000:agent:/workspace:/bin/false\n",
    "/etc/group": b"agent:x:1000:\n",
    "/etc/hosts": b"127.0.0.1 localhost\n::1 localhost\n",
    "/etc/nsswitch.conf": b"passwd: files\ngroup: files\nhosts: files\n",
}

# For programs that ask where they run before they do; it says nothing of the host.
_OS_RELEASE = {"/etc/os-release": b'NAME="aar sandbox"\nID=aar\nVERSION="1"\n'}

_ENVIRONMENT = {
    "PATH": "/opt/py/bin:/usr/bin",
    "HOME": "/workspace",
    "TMPDIR": "/tmp",
    "LANG": "C.UTF-8",
    "LD_LIBRARY_PATH": "/opt/py/lib",
    "PYTHONPATH": "/opt/aar:/opt/site",
    "PYTHONUNBUFFERED": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    # One thread each: a BLAS pool per sandbox would fight over the cores and count against `processes`.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
_MIB = 1 << 20
_FILE_MIB = 256
OPEN_FILES = 512
# Address space is not memory: interpreter, libraries and thread stacks are mapped but hardly touched.
_ADDRESS_SLACK_MIB = 3072


def sandbox_python() -> list[str]:
    """The words that start Python inside: no site packages but ours, no path from the working directory."""
    return [PYTHON, "-S", "-P", "-B"]


def etc_files(spec: SandboxSpec) -> dict[str, bytes]:
    """The whole of /etc in this sandbox."""
    return {**ETC_FILES, **_OS_RELEASE} if spec.has_shell else ETC_FILES


@dataclass(frozen=True, slots=True)
class Bind:
    """A host path and where it appears, read-only."""

    source: str
    dest: str


@dataclass(frozen=True, slots=True)
class Layout:
    """What a profile sees of the host: `binds`, minus the directories in `masks`.

    `symlinks` are (target, path). `hidden_proc` are files of /proc to cover; each must exist, or bubblewrap
    refuses to start.
    """

    binds: tuple[Bind, ...]
    masks: tuple[str, ...] = ()
    symlinks: tuple[tuple[str, str], ...] = ()
    hidden_proc: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Handed:
    """File descriptors that bubblewrap inherits: contents by destination, and the seccomp filters."""

    files: Sequence[tuple[str, int]]
    seccomp: Sequence[int] = field(default_factory=tuple)


def bwrap_options(
    spec: SandboxSpec, layout: Layout, handed: Handed, *, gateway: str | None, nested_userns_off: bool
) -> list[str]:
    """The options for `bwrap --args`: namespaces, an empty root, then only what the layout and the spec name.

    `gateway` is the path by which the sandbox's uid reaches `spec.gateway_dir`. `nested_userns_off` says
    that this bubblewrap knows --disable-userns (0.8). Order matters: / turns read-only last.
    """
    namespaces = ["user", "pid", "net", "ipc", "uts", "cgroup"]
    # Each namespace by name: --unshare-all means "try", and goes on without a user namespace.
    words = [f"--unshare-{namespace}" for namespace in namespaces]
    if nested_userns_off:
        words += ["--disable-userns", "--assert-userns-disabled"]
    words += ["--uid", str(SANDBOX_UID), "--gid", str(SANDBOX_UID), "--cap-drop", "ALL"]
    words += ["--hostname", "sandbox", "--die-with-parent", "--new-session", "--clearenv"]
    for name, value in {**_ENVIRONMENT, **spec.env}.items():
        words += ["--setenv", name, value]
    for bind in layout.binds:
        words += ["--ro-bind", bind.source, bind.dest]
    for mask in layout.masks:
        words += ["--tmpfs", mask, "--remount-ro", mask]
    for target, path in layout.symlinks:
        words += ["--symlink", target, path]
    words += ["--proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys"]
    for path in layout.hidden_proc:
        words += ["--ro-bind", "/dev/null", path]
    words += ["--dev", "/dev", *_tmpfs("/dev/shm", spec.memory_mib // 4, "1777")]
    words += _tmpfs("/tmp", spec.memory_mib // 4, "1777")
    words += _tmpfs("/workspace", spec.memory_mib // 2, "0755")
    if spec.has_shell:
        words += _tmpfs("/var/tmp", spec.memory_mib // 8, "1777")
    if gateway is not None:
        words += ["--ro-bind", gateway, GATEWAY_DEST]
    for dest, descriptor in handed.files:
        how = "--file" if dest.startswith("/workspace/") else "--ro-bind-data"
        words += ["--perms", "0644", how, str(descriptor), dest]
    words += ["--chdir", "/workspace", "--remount-ro", "/dev", "--remount-ro", "/"]
    for descriptor in handed.seccomp:
        words += ["--add-seccomp-fd", str(descriptor)]
    return words


def limited(spec: SandboxSpec) -> list[str]:
    """The command line inside: prlimit, then `spec.argv`.

    The process count must be set in there: outside it would count every process of the uid, and for a global
    uid 0 the kernel does not enforce it.
    """
    data = spec.memory_mib * _MIB
    address = (spec.memory_mib + _ADDRESS_SLACK_MIB) * _MIB
    return [
        PRLIMIT,
        f"--nproc={spec.processes}:{spec.processes}",
        f"--nofile={OPEN_FILES}:{OPEN_FILES}",
        f"--fsize={_FILE_MIB * _MIB}:{_FILE_MIB * _MIB}",
        f"--data={data}:{data}",
        f"--as={address}:{address}",
        f"--cpu={spec.cpu_s}:{spec.cpu_s + 1}",
        "--core=0:0",
        "--memlock=65536:65536",
        "--msgqueue=65536:65536",
        "--",
        *spec.argv,
    ]


def _tmpfs(path: str, mib: int, mode: str) -> list[str]:
    return ["--perms", mode, "--size", str(max(mib, 4) * _MIB), "--tmpfs", path]
