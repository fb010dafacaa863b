"""The witness command: serve as a witness of anybody's logs, or print the witness's public key."""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from aar.cli.config import parse_policy_file
from aar.cli.failures import CommandFailed
from aar.cli.main import EXIT_BAD_INPUT, EXIT_OK
from aar.cli.output import complain, say
from aar.formats.errors import FormatError
from aar.formats.keys import COSIGNATURE, KEY_BYTES, Signer, VerifierKey, format_vkey, parse_vkey
from aar.formats.note import check_key_name
from aar.witness.server import Cosigner, WitnessServer
from aar.witness.store import WitnessHalted, WitnessStore
from aar.witness.witness import logs_by_origin

BACKLOG = 128
STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM}
LOCK_TIMEOUT_S = 1.0


def witness(options: argparse.Namespace) -> int:
    """`aar witness serve` and `aar witness vkey`."""
    try:
        return _serve(options) if options.action == "serve" else _vkey(options)
    except (WitnessHalted, FormatError) as error:
        raise CommandFailed(str(error)) from error


def _vkey(options: argparse.Namespace) -> int:
    state = _state_directory(options.state)
    store = WitnessStore(state)
    if (state / "witness.key").exists():
        say(format_vkey(_signer(store, state, options.name).vkey))
        return EXIT_OK
    lock = store.lock(LOCK_TIMEOUT_S)
    try:
        say(format_vkey(_signer(store, state, options.name).vkey))
    finally:
        os.close(lock)
    return EXIT_OK


def _serve(options: argparse.Namespace) -> int:
    logs = logs_by_origin(_log_keys(options.log, options.policy))
    host, port = _address(options.listen)
    state = _state_directory(options.state)
    store = WitnessStore(state)
    store.lock(LOCK_TIMEOUT_S)
    signer = _signer(store, state, options.name)
    cosigner = Cosigner(logs, store, signer, clock_s=lambda: int(time.time()), on_fatal=_halt)
    listener = _listen(options.listen, host, port)
    # Waited for, not handled: a handler that wakes its own thread can come upon a lock that it holds.
    # Threads started from here on never get them.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    server = WitnessServer(listener, cosigner)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True).start()
    bound_host, bound_port = listener.getsockname()[:2]
    shown_host = f"[{bound_host}]" if ":" in bound_host else bound_host
    say(f"witness {format_vkey(signer.vkey)}")
    for origin in logs:
        say(f"log {origin}")
    say(f"listening on http://{shown_host}:{bound_port}; Ctrl-C ends it")
    signal.sigwait(STOP_SIGNALS)
    server.stop()
    say("stopped in order")
    return EXIT_OK


def _log_keys(vkeys: Iterable[str], policies: Iterable[str]) -> list[VerifierKey]:
    """The keys of the logs that the options name, each once."""
    keys = []
    for text in vkeys:
        try:
            keys.append(parse_vkey(text))
        except FormatError as error:
            raise CommandFailed(f"--log: {error}") from error
    for name in policies:
        path = Path(name)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise CommandFailed(f"--policy {name}: {error.strerror}; want a policy file") from error
        keys.append(parse_policy_file(path, data).log)
    if not keys:
        raise CommandFailed("no log to witness: name one with --log VKEY or --policy FILE")
    return list(dict.fromkeys(keys))


def _address(text: str) -> tuple[str, int]:
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:\[\]]+)):(0|[1-9][0-9]{0,4})", text, re.ASCII)
    if match is None or int(match[3]) > 65_535:
        raise CommandFailed(f"--listen {text}: want HOST:PORT, for example 127.0.0.1:8080 or [::1]:8080")
    return match[1] or match[2], int(match[3])


def _listen(text: str, host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _name, address = found[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise CommandFailed(f"--listen {text}: {error.strerror}; name another address") from error
    return listener


def _state_directory(name: str) -> Path:
    """A witness's directory, made if there is none; any other directory is refused."""
    state = Path(name)
    key = state / "witness.key"
    if state.exists() and not state.is_dir():
        raise CommandFailed(f"--state {name} is a file; name a directory")
    if state.is_dir() and not key.exists() and any(one.suffix != ".tmp" for one in state.iterdir()):
        raise CommandFailed(f"--state {name} is not empty and holds no witness.key; name a new directory")
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    if key.exists() and key.stat().st_mode & 0o077:
        raise CommandFailed(f"{key} can be read by others; a key has mode 0600: chmod 600 {key}")
    return state


def _signer(store: WitnessStore, state: Path, name: str | None) -> Signer:
    """The witness's key. A witness without a name is called after its key, so that no two share a name."""
    if name is not None:
        check_key_name(name)
    seed = b""
    if name is None and not (state / "witness.key").exists():
        seed = os.urandom(KEY_BYTES)
        public_key = Signer("new", seed, COSIGNATURE).vkey.public_key
        name = f"witness-{hashlib.sha256(public_key).hexdigest()[:8]}"
    signer = store.load_or_create_key(name or "", lambda count: seed or os.urandom(count))
    if name is not None and signer.name != name:
        raise CommandFailed(
            f"{state} is the state of witness {signer.name}, not of {name}: leave --name out, "
            "or name a new --state"
        )
    return signer


def _halt(error: OSError) -> NoReturn:
    """What is not durable must not be answered, and after a failed fsync nothing may be tried again."""
    try:
        complain(f"the witness cannot store what it saw: {error}; start it again when it can")
    finally:
        os._exit(EXIT_BAD_INPUT)
