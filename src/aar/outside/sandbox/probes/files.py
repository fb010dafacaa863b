"""Attacks on files: what the study keeps, what the host has, what the sandbox is made of."""

from __future__ import annotations

import importlib
import importlib.util
import os
import stat
from collections.abc import Iterable

from aar.outside.sandbox.probes.attempt import (
    Found,
    World,
    connects,
    holds,
    in_child,
    libc,
    opened,
    opens,
    outcome,
    probe,
    reads,
    syscall,
)

_SKIPPED = ("/proc", "/sys", "/dev")
_RUNTIME = ("/usr/", "/opt/py/", "/opt/site/")
_MS_REMOUNT, _MS_BIND, _MNT_DETACH = 32, 4096, 2
_AT_FDCWD, _OPEN_TREE_CLONE_ALL = -100, 0x8001
_HOST_ROOT = ("/boot", "/home", "/mnt", "/root", "/sbin", "/srv", "/sys")
# All that there is of /var where a sandbox has one of its own.
_OWN_VAR = ["tmp"]
_KERNEL_DEVICES = ("kmsg", "mem", "port", "kvm", "fuse", "net/tun", "loop-control", "vhost-net",
                   "vhost-vsock", "uinput", "mapper/control", "dri/card0",
                   "hpet", "rtc0", "ppp", "userfaultfd")  # fmt: skip


@probe("labels", "mount view")
def read_labels(world: World) -> Found:
    """Open the evaluator's labels by their path."""
    return reads(world, "labels")


@probe("labels", "mount view")
def search_labels(world: World) -> Found:
    """Look into every file that is not of the runtime, for a label."""
    canary = world["canary"].encode()
    paths = _files(world)
    for path in paths:
        if not path.startswith(_RUNTIME) and holds(path, canary):
            return True, path
    return False, f"{len(paths)} files seen"


@probe("labels", "mount view")
def search_digits(world: World) -> Found:
    """Look for data sets that come with their labels: scikit-learn's digits, the world of our claims."""
    names = ("digits.csv", "claims_world", "claims-features", "model.safetensors")
    paths = _files(world)
    for path in paths:
        if os.path.basename(path).startswith(names):
            return True, path
    return False, f"{len(paths)} files seen"


@probe("labels", "mount view", needs="scikit-learn")
def import_labels(_world: World) -> Found:
    """Import scikit-learn, which ships the digits."""
    return importlib.util.find_spec("sklearn") is not None, "sklearn"


@probe("test inputs", "mount view")
def read_test_inputs(world: World) -> Found:
    """Open the evaluator's test inputs by their path."""
    return reads(world, "test-inputs")


@probe("keys", "mount view")
def read_key(world: World) -> Found:
    """Open a signing key of the gateway by its path."""
    return reads(world, "key")


@probe("keys", "mount view")
def read_home_secrets(world: World) -> Found:
    """Open a private key in the home directory of whoever runs the study."""
    return reads(world, "home")


@probe("record", "mount view")
def read_record(world: World) -> Found:
    """Open the record by its path."""
    return reads(world, "record")


@probe("record", "mount view")
def write_record(world: World) -> Found:
    """Open the record for writing."""
    with open(world["places"]["record"], "r+b"):
        return True, world["places"]["record"]


@probe("files", "mount view")
def see_study_directory(world: World) -> Found:
    """Find the study's directories by their names."""
    for path in world["study"]:
        if os.path.lexists(path):
            return True, path
    return False, f"{len(world['study'])} paths tried"


@probe("files", "mount view")
def see_host_root(_world: World) -> Found:
    """Find a directory that a host has and a sandbox does not need."""
    for path in _HOST_ROOT:
        if os.path.lexists(path):
            return True, path
    if os.path.lexists("/var") and os.listdir("/var") != _OWN_VAR:
        return True, "/var"
    return False, f"{len(_HOST_ROOT) + 1} paths tried"


@probe("files", "mount view")
def read_host_temporary_file(world: World) -> Found:
    """Open a file that another program of the host keeps in /tmp."""
    return reads(world, "temporary")


@probe("files", "mount view")
def connect_host_socket(world: World) -> Found:
    """Connect to a socket of a service of the host, as that of Docker is."""
    return connects(1, world["places"]["service"])


@probe("files", "mount view")
def follow_link_out(world: World) -> Found:
    """Read the labels through a symbolic link of one's own."""
    link = os.path.join(world["scratch"], f"link-{os.getpid()}")
    os.symlink(world["places"]["labels"], link)
    try:
        return holds(link, world["canary"].encode(), must_open=True), link
    finally:
        os.unlink(link)


@probe("files", "separate mounts")
def link_file_out(world: World) -> Found:
    """Make a hard link to a file that is not one's own, to have it opened or given away later."""
    link = os.path.join(world["scratch"], f"hard-{os.getpid()}")
    trouble = "nothing to link"
    for source in world["runtime"]:
        try:
            os.link(source, link)
        except OSError as error:
            trouble = f"{source}: {error.strerror}"
            continue
        os.unlink(link)
        return True, source
    return False, trouble


@probe("files", "process namespace", "user namespace")
def read_through_another_root(world: World) -> Found:
    """Read the labels through the root directory of a process of the host."""
    path = f"/proc/{world['victim']}/root{world['places']['labels']}"
    return holds(path, world["canary"].encode(), must_open=True), path


@probe("files", "process namespace", "user namespace")
def read_through_another_descriptor(world: World) -> Found:
    """Read the labels through a descriptor that a process of the host holds."""
    path = f"/proc/{world['victim']}/fd/0"
    return holds(path, world["canary"].encode(), must_open=True), path


@probe("files", "closed descriptors")
def use_inherited_descriptor(world: World) -> Found:
    """Read what a descriptor leads to that somebody forgot to close."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and holds(f"/proc/self/fd/{name}", world["canary"].encode()):
            return True, f"descriptor {name}"
    return False, "three streams, nothing else"


@probe("files", "read-only mounts")
def write_outside_workspace(world: World) -> Found:
    """Make a file in each directory that is not for the researcher's own files."""
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


@probe("files", "read-only mounts", "own uid")
def write_runtime(world: World) -> Found:
    """Open a file of the runtime for writing: what others run, too."""
    return opens(world["runtime"], os.O_WRONLY | os.O_APPEND)


@probe("files", "no capabilities", "own devices", needs="root")
def make_device_node(world: World) -> Found:
    """Make a block device and open it."""
    path = os.path.join(world["scratch"], f"device-{os.getpid()}")
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))
    try:
        os.close(os.open(path, os.O_RDONLY))
        return True, path
    finally:
        os.unlink(path)


@probe("files", "own devices", "own uid", needs="root and a disk")
def open_host_disk(_world: World) -> Found:
    """Open a disk of the host."""
    names = [f"/dev/{name}" for name in os.listdir("/dev")]
    return opens([path for path in names if stat.S_ISBLK(os.stat(path).st_mode)], os.O_RDONLY)


@probe("files", "own devices", "own uid", needs="such a device, and often root")
def open_kernel_device(_world: World) -> Found:
    """Open a device by which the kernel is asked for more than files."""
    return opens([f"/dev/{name}" for name in _KERNEL_DEVICES], os.O_RDONLY)


@probe("files", "own devices")
def open_host_terminal(world: World) -> Found:
    """Open somebody's terminal for writing."""
    return opens([world["terminal"]], os.O_WRONLY)


@probe("files", "system-call filter")
def name_file_handle(world: World) -> Found:
    """Ask for the handle of a file, which works in every mount of its file system."""
    handle = bytearray(136)
    handle[:4] = (128).to_bytes(4, "little")
    return outcome(_handle_of(world["scratch"], handle))


@probe("files", "system-call filter", "no capabilities", needs="root and a file system with handles")
def open_by_file_handle(world: World) -> Found:
    """Open a file by its handle, whatever the mounts show."""
    handle = bytearray(136)
    handle[:4] = (128).to_bytes(4, "little")
    if _handle_of(world["scratch"], handle) != 0:
        return outcome(-1)
    root = os.open(world["scratch"], os.O_RDONLY)
    try:
        opened = syscall("open_by_handle_at", root, bytes(handle), os.O_RDONLY)
        found = outcome(opened)
        if opened >= 0:
            os.close(opened)
        return found
    finally:
        os.close(root)


@probe("namespaces", "system-call filter", "no capabilities", wants_root=True)
def mount_file_system(world: World) -> Found:
    """Mount something over the workspace."""
    return outcome(libc.mount(b"probe", world["scratch"].encode(), b"tmpfs", 0, None))


@probe("namespaces", "system-call filter", "no capabilities", wants_root=True)
def unmount_a_mask(world: World) -> Found:
    """Take away the mount that hides something."""
    masks = world["masks"]
    if not masks:
        masks = [os.path.dirname(world["places"]["labels"])]
        libc.mount(b"mask", masks[0].encode(), b"tmpfs", 0, None)
    for mask in masks:
        if libc.umount2(mask.encode(), _MNT_DETACH) == 0:
            return True, mask
    return outcome(-1)


@probe("namespaces", "system-call filter", "no capabilities", wants_root=True)
def remount_writable(world: World) -> Found:
    """Make a read-only mount writable."""
    place = world["remount"].encode()
    if world["mode"] == "without":
        libc.mount(place, place, None, _MS_BIND, None)
    return outcome(libc.mount(None, place, None, _MS_REMOUNT | _MS_BIND, None))


@probe("namespaces", "system-call filter", "no capabilities", wants_root=True)
def change_root(world: World) -> Found:
    """Make another directory the root, from which an old descriptor leads out."""
    return in_child(lambda: outcome(libc.chroot(world["scratch"].encode())))


@probe("namespaces", "system-call filter", "no capabilities", wants_root=True)
def open_file_system(_world: World) -> Found:
    """Make a file system by the newer mount calls, which filters forget."""
    return opened(syscall("fsopen", b"tmpfs", 0))


@probe("namespaces", "system-call filter", "no capabilities", wants_root=True)
def clone_mount_tree(_world: World) -> Found:
    """Copy the whole tree of mounts to a descriptor."""
    return opened(syscall("open_tree", _AT_FDCWD, b"/", _OPEN_TREE_CLONE_ALL))


@probe("our code", "mount view")
def import_outside(_world: World) -> Found:
    """Import the code that holds keys and labels."""
    importlib.import_module("aar.outside.sandbox.spec")
    return True, "aar.outside"


def _files(world: World) -> list[str]:
    """Every file below the roots, listed once."""
    if "files" not in world:
        world["files"] = [path for root in world["roots"] for path in _walked(root)]
    paths: list[str] = world["files"]
    return paths


def _walked(root: str) -> Iterable[str]:
    waiting = [root]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for one in entries:
                    if not one.is_dir(follow_symlinks=False):
                        yield one.path
                    # What Python keeps beside its modules is made of them.
                    elif one.name != "__pycache__" and one.path not in _SKIPPED:
                        waiting.append(one.path)
        except OSError:  # closed to us
            continue


def _handle_of(path: str, handle: bytearray) -> int:
    import ctypes

    room = (ctypes.c_char * len(handle)).from_buffer(handle)
    mount = ctypes.c_int()
    return syscall("name_to_handle_at", _AT_FDCWD, path.encode(), room, ctypes.byref(mount), 0)
