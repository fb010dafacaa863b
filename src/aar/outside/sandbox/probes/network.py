"""Attacks on the network: what listens on the host, what the host is connected to, raw ways in and out."""

from __future__ import annotations

import fcntl
import os
import socket
import struct

from aar.outside.sandbox.probes.attempt import Found, World, connects, probe

_AF_VSOCK, _AF_PACKET = 40, 17
_RARE_FAMILIES = {"alg": 38, "x25": 9, "key": 15, "rds": 21, "can": 29, "tipc": 30, "bluetooth": 31,
                  "kcm": 41, "qipcrtr": 42, "smc": 43, "xdp": 44, "mctp": 45}  # fmt: skip
_UEVENTS = 15
_SIOCGIFMTU, _SIOCSIFMTU = 0x8921, 0x8922


@probe("network", "network namespace")
def connect_abstract_socket(world: World) -> Found:
    """Connect to a socket of the host that has a name and no file."""
    return connects(socket.AF_UNIX, "\0" + world["abstract"])


@probe("network", "network namespace")
def connect_tcp(world: World) -> Found:
    """Connect to a service on the host's loopback."""
    return connects(socket.AF_INET, ("127.0.0.1", world["tcp_port"]))


@probe("network", "network namespace", needs="IPv6")
def connect_tcp_ipv6(world: World) -> Found:
    """The same by IPv6, which rules for IPv4 forget."""
    return connects(socket.AF_INET6, ("::1", world["tcp6_port"]))


@probe("network", "network namespace")
def send_udp(world: World) -> Found:
    """Send a datagram to the host; whoever planted the receiver knows whether it came."""
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


@probe("network", "network namespace")
def see_host_connections(world: World) -> Found:
    """Read which ports the host listens on."""
    with open("/proc/net/tcp", encoding="ascii") as table:
        return f":{world['tcp_port']:04X} " in table.read(), "/proc/net/tcp"


@probe("network", "network namespace")
def see_host_sockets(world: World) -> Found:
    """Read the names of the host's sockets."""
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as table:
        return world["abstract"] in table.read(), "/proc/net/unix"


@probe("network", "network namespace", needs="a host with a network")
def see_interfaces(_world: World) -> Found:
    """Find an interface that leads somewhere."""
    names = [name for _, name in socket.if_nameindex() if name != "lo"]
    return bool(names), " ".join(names) or "the loopback alone"


@probe("network", "network namespace", needs="a host with a network")
def see_routes(_world: World) -> Found:
    """Find a route that leads somewhere."""
    with open("/proc/net/route", encoding="ascii") as table:
        return len(table.readlines()) > 1, "/proc/net/route"


@probe("network", "mount view", needs="/etc/resolv.conf")
def learn_resolver(_world: World) -> Found:
    """Learn whom to ask for names."""
    with open("/etc/resolv.conf", encoding="utf-8") as table:
        return "nameserver" in table.read(), "/etc/resolv.conf"


@probe("network", "no capabilities", "user namespace", wants_root=True)
def open_raw_socket(_world: World) -> Found:
    """Write packets by hand."""
    return _opened(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)


@probe("network", "system-call filter", "no capabilities", needs="CONFIG_PACKET", wants_root=True)
def open_packet_socket(_world: World) -> Found:
    """Listen to every packet of an interface."""
    return _opened(_AF_PACKET, socket.SOCK_RAW, 0)


@probe("network", "no capabilities", "user namespace", wants_root=True)
def configure_network(_world: World) -> Found:
    """Change an interface, as the first step to one that leads out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = fcntl.ioctl(sock, _SIOCGIFMTU, struct.pack("16si12x", b"lo", 0))
        fcntl.ioctl(sock, _SIOCSIFMTU, request)
    return True, "lo"


@probe("network", "system-call filter")
def hear_kernel_events(_world: World) -> Found:
    """Open a netlink socket other than that for routes."""
    return _opened(socket.AF_NETLINK, socket.SOCK_RAW, _UEVENTS)


@probe("network", "system-call filter", needs="AF_VSOCK")
def open_vsock(_world: World) -> Found:
    """Open a socket to the machine below this one, which no network namespace divides."""
    return _opened(_AF_VSOCK, socket.SOCK_STREAM, 0)


@probe("network", "system-call filter", "no capabilities", needs="one of these families")
def open_rare_socket(_world: World) -> Found:
    """Open a socket of a family that few use: among them that of ciphers, which wrote to read-only files."""
    refused = ""
    for name, family in _RARE_FAMILIES.items():
        for kind in (socket.SOCK_RAW, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET, socket.SOCK_STREAM):
            try:
                return _opened(family, kind, 2 if name == "key" else 0)[0], name
            except OSError as error:
                refused = os.strerror(error.errno or 0)
    return False, refused


def _opened(family: int, kind: int, protocol: int) -> Found:
    with socket.socket(family, kind, protocol):
        return True, f"family {family}"
