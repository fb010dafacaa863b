"""Attacks on identity: becoming somebody else, and learning who and where one is."""

from __future__ import annotations

import os
import socket
import struct

from aar.outside.sandbox.probes.attempt import Found, World, in_child, libc, probe

_GET_NO_NEW_PRIVILEGES = 39
_SO_PASSCRED, _SCM_CREDENTIALS = 16, 2


@probe("privilege", "system-call filter")
def set_id_bits(world: World) -> Found:
    """Make a program that runs as whoever owns it."""
    path = os.path.join(world["scratch"], f"set-id-{os.getpid()}")
    with open(path, "xb"):
        pass
    try:
        os.chmod(path, 0o6700)
        return os.stat(path).st_mode & 0o6000 != 0, "set-user-id on a file"
    finally:
        os.unlink(path)


@probe("privilege", "mount view")
def find_set_id_program(world: World) -> Found:
    """Find a program that runs as whoever owns it."""
    for folder in world["programs"]:
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            path = os.path.join(folder, name)
            if os.path.isfile(path) and os.stat(path).st_mode & 0o6000:
                return True, path
    return False, f"{len(world['programs'])} directories searched"


@probe("privilege", "no new privileges")
def gain_by_running(_world: World) -> Found:
    """Run a program that gives what we have not: whether the kernel would let it."""
    return libc.prctl(_GET_NO_NEW_PRIVILEGES, 0, 0, 0, 0) == 0, "PR_GET_NO_NEW_PRIVS"


@probe("privilege", "no capabilities", wants_root=True)
def hold_capabilities(_world: World) -> Found:
    """Have a capability, here or as root of a namespace of one's own."""
    with open("/proc/self/status", encoding="ascii") as told:
        held = next(line.split()[1] for line in told if line.startswith("CapEff"))
    return int(held, 16) != 0, held


@probe("privilege", "no capabilities", "own uid", needs="root")
def change_user(_world: World) -> Found:
    """Become another user."""

    def attempt() -> Found:
        os.setuid(0 if os.getuid() else 65534)
        return True, "another uid"

    return in_child(attempt)


@probe("privilege", "no capabilities", "own uid", needs="root")
def change_groups(_world: World) -> Found:
    """Join other groups."""

    def attempt() -> Found:
        os.setgroups([0, 6])
        return True, "other groups"

    return in_child(attempt)


@probe("identity", "no capabilities", "own uid", needs="root")
def forge_credentials(world: World) -> Found:
    """Tell a Unix socket's other end that one is another process and user."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        theirs.setsockopt(socket.SOL_SOCKET, _SO_PASSCRED, 1)
        forged = struct.pack("3i", world["victim"], 65534, 65534)
        ours.sendmsg([b"x"], [(socket.SOL_SOCKET, _SCM_CREDENTIALS, forged)])
        return True, "sent as another"


@probe("identity", "mount view")
def learn_accounts(_world: World) -> Found:
    """Learn who has an account on the host."""
    with open("/etc/passwd", encoding="utf-8", errors="replace") as table:
        names = [line.partition(":")[0] for line in table]
    return names != ["agent"], f"{len(names)} accounts"


@probe("identity", "host-name namespace")
def learn_host_name(world: World) -> Found:
    """Learn what the host is called."""
    return os.uname().nodename == world["host_name"], "host name"


@probe("identity", "mount view", needs="/etc/machine-id, or firmware that names the machine")
def learn_machine(_world: World) -> Found:
    """Learn which machine this is."""
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id", "/sys/class/dmi/id/product_name"):
        if os.path.exists(path):
            return True, path
    return False, "nothing names it"


@probe("identity", "closed environment")
def learn_caller(world: World) -> Found:
    """Learn who runs the study from what they left in the environment."""
    return world["canary"] in os.environ.values(), "environment"
