"""Everything a probe tries in order to get out: one script, standard library only, run inside and outside.

It reads a world, one JSON object, on standard input: where things lie outside, what to search, which mode. It
prints {"probes": {name: [fired, detail]}, "own": {what a researcher needs: what is wrong with it}}. A probe
fires when its attack works.
"""

from __future__ import annotations

import ctypes
import fcntl
import importlib
import importlib.util
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)
_NEWNS, _NEWUTS, _NEWUSER = 0x0002_0000, 0x0400_0000, 0x1000_0000
_PTRACE_TRACEME, _PTRACE_ATTACH, _PTRACE_DETACH = 0, 16, 17
_AF_VSOCK = 40
_CALLS = {
    "x86_64": {"io_uring_setup": 425, "keyctl": 250, "shmget": 29, "userfaultfd": 323},
    "aarch64": {"io_uring_setup": 425, "keyctl": 219, "shmget": 194, "userfaultfd": 282},
}
# What a wall answers with. Anything else is a mistake in a probe, and ends the script.
_REFUSALS = (OSError, ImportError)
_SKIPPED = ("/proc", "/sys", "/dev")
_LOOK_INSIDE_BYTES = 65_536

Found = tuple[bool, str]
World = dict[str, Any]


def read_labels(world: World) -> Found:
    return _reads(world, "labels")


def search_labels(world: World) -> Found:
    """Look into every file that is not of the runtime."""
    return _searched(
        world,
        lambda path: (
            not path.startswith(("/usr/", "/opt/py/", "/opt/site/"))
            and _holds(path, world["canary"].encode())
        ),
    )


def search_digits(world: World) -> Found:
    """Data sets with their labels, wherever they lie: scikit-learn's digits, the world of our claims."""
    names = ("digits.csv", "claims_world", "claims-features", "model.safetensors")
    return _searched(world, lambda path: os.path.basename(path).startswith(names))


def import_labels(_world: World) -> Found:
    return importlib.util.find_spec("sklearn") is not None, "sklearn"


def read_test_inputs(world: World) -> Found:
    return _reads(world, "test-inputs")


def read_key(world: World) -> Found:
    return _reads(world, "key")


def read_environments(world: World) -> Found:
    """The canary in our environment, or in that of any process we can see."""
    canary = world["canary"].encode()
    for pid in ["self", *filter(str.isdigit, os.listdir("/proc"))]:
        if _holds(f"/proc/{pid}/environ", canary):
            return True, f"/proc/{pid}/environ"
    return False, "not in any environment"


def read_record(world: World) -> Found:
    return _reads(world, "record")


def write_record(world: World) -> Found:
    with open(world["places"]["record"], "r+b"):
        return True, world["places"]["record"]


def see_study_directory(world: World) -> Found:
    for path in world["study"]:
        if os.path.lexists(path):
            return True, path
    return False, f"{len(world['study'])} paths tried"


def read_other_workspace(world: World) -> Found:
    return _reads(world, "workspace")


def connect_other_gateway(world: World) -> Found:
    return _connects(socket.AF_UNIX, world["places"]["socket"])


def connect_abstract_socket(world: World) -> Found:
    return _connects(socket.AF_UNIX, "\0" + world["abstract"])


def connect_tcp(world: World) -> Found:
    return _connects(socket.AF_INET, ("127.0.0.1", world["tcp_port"]))


def send_udp(world: World) -> Found:
    """A datagram to the host; whoever planted the receiver knows whether it came."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", world["udp_port"]))
        sock.send(world["mode"].encode())
        sock.settimeout(0.05)
        # Refused when nobody listens on this loopback; silence means that it went somewhere.
        try:
            sock.recv(1)
        except TimeoutError:
            return True, "sent, not refused"
    return False, "answered"


def see_host_process(world: World) -> Found:
    canary = world["canary"].encode()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if _holds(f"/proc/{pid}/cmdline", canary):
            return True, f"/proc/{pid}/cmdline"
    return False, "not among the processes seen"


def trace_process(world: World) -> Found:
    """Attach to the host's victim, and to a child of our own."""
    if _libc.ptrace(_PTRACE_ATTACH, world["victim"], None, None) == 0:
        os.waitpid(world["victim"], 0x4000_0000)
        _libc.ptrace(_PTRACE_DETACH, world["victim"], None, None)
        return True, "attached"
    return _in_child(lambda: _call(_libc.ptrace(_PTRACE_TRACEME, 0, None, None)))


def signal_host_process(world: World) -> Found:
    os.kill(world["victim"], 0)
    return True, f"process {world['victim']}"


def make_user_namespace(_world: World) -> Found:
    return _in_child(lambda: _call(_libc.unshare(_NEWUSER)))


def mount_file_system(world: World) -> Found:
    def attempt() -> Found:
        _libc.unshare(_NEWUSER | _NEWNS)  # when refused, what we are must do
        return _call(_libc.mount(b"probe", world["scratch"].encode(), b"tmpfs", 0, None))

    return _in_child(attempt)


def join_namespace(_world: World) -> Found:
    def attempt() -> Found:
        _libc.unshare(_NEWUSER | _NEWUTS)
        descriptor = os.open("/proc/self/ns/uts", os.O_RDONLY)
        return _call(_libc.setns(descriptor, _NEWUTS))

    return _in_child(attempt)


def write_outside_workspace(world: World) -> Found:
    for folder in world["writable"]:
        path = os.path.join(folder, f"probe-{os.getpid()}")
        try:
            with open(path, "xb"):
                pass
        except OSError:
            continue
        os.unlink(path)
        return True, folder
    return False, f"{len(world['writable'])} directories tried"


def write_core_pattern(_world: World) -> Found:
    """Opened for writing only: this file makes root of the host run a program."""
    with open("/proc/sys/kernel/core_pattern", "wb"):
        return True, "open for writing"


def set_id_bits(world: World) -> Found:
    path = os.path.join(world["scratch"], f"set-id-{os.getpid()}")
    with open(path, "xb"):
        pass
    try:
        os.chmod(path, 0o6700)
        return os.stat(path).st_mode & 0o6000 != 0, "set-user-id on a file"
    finally:
        os.unlink(path)


def change_user(_world: World) -> Found:
    def attempt() -> Found:
        os.setuid(0 if os.getuid() else 65534)
        return True, "another uid"

    return _in_child(attempt)


def open_vsock(_world: World) -> Found:
    with socket.socket(_AF_VSOCK, socket.SOCK_STREAM):
        return True, "AF_VSOCK"


def open_io_uring(_world: World) -> Found:
    parameters = ctypes.create_string_buffer(120)
    return _in_child(lambda: _call(_syscall("io_uring_setup", 1, parameters)))


def read_keyring(_world: World) -> Found:
    return _in_child(lambda: _call(_syscall("keyctl", 0, -3, 0)))  # KEYCTL_GET_KEYRING_ID of the session


def open_userfaultfd(_world: World) -> Found:
    return _in_child(lambda: _call(_syscall("userfaultfd", 1)))  # UFFD_USER_MODE_ONLY


def share_memory(_world: World) -> Found:
    def attempt() -> Found:
        identifier = _syscall("shmget", 0, 4096, 0o1600)
        _libc.shmctl(identifier, 0, None)
        return _call(identifier)

    return _in_child(attempt)


def share_file_locks(_world: World) -> Found:
    """Somebody else holds the lock on this file of the runtime; to see that is to hear them."""
    with open(os.__file__, "rb") as shared:
        try:
            fcntl.flock(shared, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True, "locked by another"
    return False, "an inode of our own"


def import_outside(_world: World) -> Found:
    importlib.import_module("aar.outside.sandbox.spec")
    return True, "aar.outside"


PROBES: dict[str, Callable[[World], Found]] = {
    "read-labels": read_labels,
    "search-labels": search_labels,
    "search-digits": search_digits,
    "import-labels": import_labels,
    "read-test-inputs": read_test_inputs,
    "read-key": read_key,
    "read-environments": read_environments,
    "read-record": read_record,
    "write-record": write_record,
    "see-study-directory": see_study_directory,
    "read-other-workspace": read_other_workspace,
    "connect-other-gateway": connect_other_gateway,
    "connect-abstract-socket": connect_abstract_socket,
    "connect-tcp": connect_tcp,
    "send-udp": send_udp,
    "see-host-process": see_host_process,
    "trace-process": trace_process,
    "signal-host-process": signal_host_process,
    "make-user-namespace": make_user_namespace,
    "mount-file-system": mount_file_system,
    "join-namespace": join_namespace,
    "write-outside-workspace": write_outside_workspace,
    "write-core-pattern": write_core_pattern,
    "set-id-bits": set_id_bits,
    "change-user": change_user,
    "open-vsock": open_vsock,
    "open-io-uring": open_io_uring,
    "read-keyring": read_keyring,
    "open-userfaultfd": open_userfaultfd,
    "share-memory": share_memory,
    "share-file-locks": share_file_locks,
    "import-outside": import_outside,
}


def run_all(world: World) -> dict[str, list[Any]]:
    """Try every probe; an exception is a refusal, and its text is the detail."""
    results: dict[str, list[Any]] = {}
    for name, probe in PROBES.items():
        try:
            fired, detail = probe(world)
        except _REFUSALS as error:
            fired, detail = False, f"{type(error).__name__}: {error}"
        results[name] = [fired, detail]
    return results


def own_use() -> dict[str, str]:
    """What a researcher does need: its gateway, numpy, files of its own. Empty text: that one works."""
    troubles = {}
    for name, attempt in _OWN_USE.items():
        try:
            attempt()
            troubles[name] = ""
        except _REFUSALS as error:
            troubles[name] = f"{type(error).__name__}: {error}"
    return troubles


_OWN_USE: dict[str, Callable[[], object]] = {
    "gateway": lambda: _connects(socket.AF_UNIX, "/run/gw/gw.sock"),
    "numpy": lambda: importlib.import_module("numpy"),
    "workspace": lambda: open("/workspace/own", "xb").close(),
}


def _reads(world: World, name: str) -> Found:
    path = world["places"][name]
    return _holds(path, world["canary"].encode(), must_open=True), path


def _searched(world: World, matches: Callable[[str], bool]) -> Found:
    seen = 0
    for root in world["roots"]:
        for folder, folders, names in os.walk(root):
            folders[:] = [name for name in folders if os.path.join(folder, name) not in _SKIPPED]
            for name in names:
                seen += 1
                path = os.path.join(folder, name)
                if matches(path):
                    return True, path
    return False, f"{seen} files seen"


def _holds(path: str, canary: bytes, *, must_open: bool = False) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        if must_open:
            raise
        return False
    try:
        return canary in os.read(descriptor, _LOOK_INSIDE_BYTES)
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _connects(family: int, address: Any) -> Found:
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(0.3)
        sock.connect(address)
        return True, "connected"


def _syscall(name: str, *arguments: Any) -> int:
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    return int(_libc.syscall(ctypes.c_long(_CALLS[os.uname().machine][name]), *words))


def _call(outcome: int) -> Found:
    if outcome >= 0:
        return True, f"returned {outcome}"
    return False, os.strerror(ctypes.get_errno())


def _in_child(attempt: Callable[[], Found]) -> Found:
    """In a process of its own, which what it changes dies with."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            fired, detail = attempt()
        except _REFUSALS as error:
            fired, detail = False, f"{type(error).__name__}: {error}"
        os.write(writer, json.dumps([fired, detail]).encode())
        os.kill(os.getpid(), signal.SIGKILL)
    os.close(writer)
    with os.fdopen(reader, "rb") as told:
        answer = told.read()
    os.waitpid(pid, 0)
    if not answer:
        return False, "killed in the attempt"
    fired, detail = json.loads(answer)
    return bool(fired), str(detail)


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    told = run_all(asked)
    json.dump({"probes": told, "own": own_use() if asked["mode"] == "within" else {}}, sys.stdout)
