"""Witnesses that are not ours, over TCP: real ones in processes of their own, and ones that lie or hang."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from aar.formats.cosignature import cosigned_at
from aar.formats.keys import Signer, format_vkey, parse_vkey
from aar.formats.note import parse_note
from aar.outside.record.errors import QuorumNotMet, RecordHalted, WitnessError
from aar.outside.record.quorum import Quorum
from aar.outside.record.sequencer import Sequencer
from aar.outside.record.witness_client import (
    MAX_ANSWER_BYTES,
    Witness,
    WitnessClient,
    WitnessUrl,
    parse_witness_url,
)
from record.world import LOG, ORIGIN, LocalWitness, World, entries
from witness.served import Served, served

TIMEOUT_S = 0.8
ANOTHER_LOG = Signer("log.example/1", bytes(32))


def client(one: Served) -> WitnessClient:
    return WitnessClient(one.vkey, parse_witness_url(one.url))


def open_with(world: World, *witnesses: Witness, quorum: int) -> Sequencer:
    return Sequencer.open(
        public=world.public,
        private=world.private,
        signer=LOG,
        witnesses=witnesses,
        quorum=quorum,
        clock_ms=lambda: world.now_ms,
        disk=world.disk,
    )


def cosigners(sequencer: Sequencer, *witnesses: Witness) -> list[str]:
    """Those of the witnesses whose cosignatures are on the published checkpoint."""
    note = parse_note(sequencer.checkpoint or b"")
    return [one.vkey.name for one in witnesses if cosigned_at(note, one.vkey) is not None]


def append_and_publish(sequencer: Sequencer, count: int = 3) -> int:
    sequencer.append(entries(sequencer.size, count))
    sequencer.publish()
    return sequencer.published_size


@contextmanager
def lying(answer: Callable[[socket.socket], None]) -> Iterator[WitnessClient]:
    """A witness on TCP that reads a request and then does as `answer` says."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _address = listener.accept()
                threading.Thread(target=reply, args=(connection,), daemon=True).start()

    def reply(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            received = b""
            while b"\r\n\r\n" not in received:
                received += connection.recv(65_536)
            answer(connection)

    threading.Thread(target=serve, daemon=True).start()
    url = WitnessUrl("127.0.0.1", listener.getsockname()[1], "")
    try:
        yield WitnessClient(LocalWitness(9).vkey, url, timeout_s=TIMEOUT_S)
    finally:
        listener.close()


def http_answer(status: str, body: bytes) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def test_our_log_is_cosigned_by_two_witnesses_in_processes_of_their_own(tmp_path: Path, world: World):
    local = LocalWitness()
    with (
        served(tmp_path / "a", [LOG.vkey]) as one,
        served(tmp_path / "b", [LOG.vkey], "--name", "example.org/b") as two,
    ):
        witnesses = (local, client(one), client(two))
        sequencer = open_with(world, *witnesses, quorum=3)
        assert append_and_publish(sequencer) == 3
        assert append_and_publish(sequencer) == 6
        assert cosigners(sequencer, *witnesses) == ["witness-1", one.vkey.name, "example.org/b"]


def other_witness_program() -> str:
    """A witness that others wrote: `aics-witness` of PyPI (Python 3.12), named by the environment."""
    found = os.environ.get("AAR_OTHER_WITNESS") or shutil.which("aics-witness")
    if not found:
        pytest.skip("no aics-witness here: pip install it elsewhere and name it in AAR_OTHER_WITNESS")
    return found


def test_our_log_is_cosigned_by_a_witness_that_others_wrote(tmp_path: Path, world: World):
    program = other_witness_program()
    config = ("--config", str(tmp_path / "witness.json"))

    def run(*arguments: str) -> str:
        done = subprocess.run([program, *arguments, *config], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    vkey = parse_vkey(run("init", "--name", "example.org/other", "--listen", "127.0.0.1:0"))
    run("add-log", "--origin", ORIGIN, "--vkey", format_vkey(LOG.vkey))
    with subprocess.Popen([program, "serve", *config], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            found = None
            while found is None:
                line = process.stderr.readline()
                assert line, "it ended before it listened"
                found = re.search(r"listening on (http://\S+)", line)
            local = LocalWitness()
            other = WitnessClient(vkey, parse_witness_url(found[1]))
            sequencer = open_with(world, local, other, quorum=2)
            assert append_and_publish(sequencer, 3) == 3
            assert append_and_publish(sequencer, 300) == 303
            assert cosigners(sequencer, local, other) == ["witness-1", "example.org/other"]
            sequencer.close()
            # A new process asks from size 0, is told another size, and goes on from there.
            again = open_with(world, local, WitnessClient(vkey, parse_witness_url(found[1])), quorum=2)
            assert append_and_publish(again, 3) == 306
        finally:
            process.terminate()
            process.communicate()


def test_a_witness_that_is_down_stops_what_needs_it_and_nothing_else(tmp_path: Path, world: World):
    local = LocalWitness()
    with served(tmp_path / "w", [LOG.vkey]) as one:
        other, port = client(one), one.port
        sequencer = open_with(world, local, other, quorum=2)
        assert append_and_publish(sequencer) == 3
    with pytest.raises(QuorumNotMet, match="has 1 cosignatures, want 2; .*it does not answer"):
        append_and_publish(sequencer)
    # Durable goes on, published waits until the witness is back.
    assert sequencer.append(entries(sequencer.size, 2)) == range(6, 8)
    assert (sequencer.size, sequencer.published_size) == (8, 3)
    with served(tmp_path / "w", [LOG.vkey], listen=f"127.0.0.1:{port}"):
        sequencer.publish()
        assert sequencer.published_size == 8
        assert cosigners(sequencer, local, other) == [local.vkey.name, other.vkey.name]


def test_a_log_that_a_witness_does_not_know_is_told_what_to_do(tmp_path: Path, world: World):
    with served(tmp_path / "w", [ANOTHER_LOG.vkey]) as one:
        sequencer = open_with(world, client(one), quorum=1)
        with pytest.raises(QuorumNotMet, match="404: .*give it the study's policy file"):
            append_and_publish(sequencer)


def hang(connection: socket.socket) -> None:
    connection.recv(1)


def trickle(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
    for _ in range(600):
        time.sleep(0.05)
        connection.sendall(b"x")


def say(data: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(data)


def bad_signature(connection: socket.socket) -> None:
    line = LocalWitness(9).cosign(b"another text\n\n\xe2\x80\x94 a AAAAAAA=\n")
    connection.sendall(http_answer("200 OK", line))


LIES: dict[str, tuple[Callable[[socket.socket], None], str]] = {
    "a signature over something else": (bad_signature, "not over this text"),
    "somebody else's line": (
        say(http_answer("200 OK", "— witness-8 AAAAAAAA\n".encode())),
        "has no cosignature of it",
    ),
    "no line": (say(http_answer("200 OK", b"")), "has no cosignature of it"),
    "no size": (say(http_answer("409 Conflict", b"many\n")), "want a size"),
    "another size each time": (say(http_answer("409 Conflict", b"0\n")), "changed its mind 3 times"),
    "a huge answer": (say(http_answer("200 OK", b"x" * (MAX_ANSWER_BYTES + 1))), "want signature lines"),
    "an answer without end": (
        say(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (4 * MAX_ANSWER_BYTES)),
        "want signature lines",
    ),
    "a refusal": (say(http_answer("422 Unprocessable Entity", b"no\n")), "it answered 422: 'no'"),
    "no HTTP": (say(b"\x00" * 100 + b"\r\n\r\n"), "it does not answer"),
    "nothing": (lambda connection: connection.close(), "it does not answer"),
    "silence": (hang, "it does not answer"),
    "a byte now and then": (trickle, "it does not answer"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_witness_that_lies_is_named_and_counts_for_nothing(world: World, name: str):
    answer, why = LIES[name]
    local = LocalWitness()
    with lying(answer) as liar:
        sequencer = open_with(world, local, liar, quorum=2)
        started = time.monotonic()
        with pytest.raises(QuorumNotMet, match=why):
            append_and_publish(sequencer)
        assert time.monotonic() - started < 4 * TIMEOUT_S
        assert (sequencer.size, sequencer.published_size) == (3, 0)
        sequencer.close()
        # Where it is not needed it stops nothing.
        sequencer = open_with(world, local, liar, quorum=1)
        assert append_and_publish(sequencer) == 6
        assert cosigners(sequencer, local, liar) == [local.vkey.name]


def test_a_slow_witness_does_not_stop_a_quorum_that_is_met(world: World):
    local = LocalWitness()
    with lying(hang) as slow:
        sequencer = open_with(world, local, slow, quorum=1)
        started = time.monotonic()
        for _ in range(5):
            append_and_publish(sequencer)
        # One grace for the first checkpoint; while it hangs on that one it is not waited for again.
        assert time.monotonic() - started < TIMEOUT_S
        assert sequencer.published_size == 15


def test_a_slow_witness_is_asked_again_when_it_has_answered(world: World):
    local, slow = LocalWitness(1), LocalWitness(2)

    class Slow:
        vkey = slow.vkey

        def add_checkpoint(self, old_size: int, proof: object, note: bytes) -> bytes:
            time.sleep(0.3)
            return slow.add_checkpoint(old_size, proof, note)  # type: ignore[arg-type]

    quorum = Quorum([local, Slow()], 1, grace_s=0.05)
    sequencer = open_with(world, local, quorum=1)
    append_and_publish(sequencer)
    note = (sequencer.checkpoint or b"").split("— witness".encode())[0]
    asked: list[int] = []

    def prove(old: int) -> list[bytes]:
        asked.append(old)
        return sequencer.prove_consistency(old)

    assert len(quorum.collect(3, note, prove)) == 1
    # Both from 0; the local one has seen 3 already and says so.
    assert asked == [0, 0, 3]
    assert len(quorum.collect(3, note, prove)) == 1
    # The other is still busy: only the local one is asked.
    assert asked == [0, 0, 3, 3]
    time.sleep(0.4)
    assert slow.size == 3
    assert len(Quorum([Slow()], 1).collect(3, note, prove)) == 1


def test_a_witness_that_saw_more_than_we_signed_halts_the_record(tmp_path: Path, world: World):
    """Our disk was rolled back: whoever goes on would sign a second history."""
    with served(tmp_path / "w", [LOG.vkey]) as one:
        newer = open_with(world, client(one), quorum=1)
        assert append_and_publish(newer) == 3
        assert append_and_publish(newer) == 6
        rolled_back = World()
        with pytest.raises(RecordHalted, match=r"cosigned size 6 of this log.*restore the newer copy"):
            open_with(rolled_back, LocalWitness(), client(one), quorum=1)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://w.example", WitnessUrl("w.example", 80, "")),
        ("http://w.example:8080/", WitnessUrl("w.example", 8080, "")),
        ("http://[::1]:1/a/b/", WitnessUrl("::1", 1, "/a/b")),
    ],
)
def test_a_url_names_host_port_and_prefix(text: str, url: WitnessUrl):
    assert parse_witness_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "w.example",
        "https://w.example",
        "http://",
        "http://:80",
        "http://w:",
        "http://w:0",
        "http://w:65536",
        "http://w:x",
        "http://u@w",
        "http://w/?q",
        "http://w/#f",
        "http://w/a b",
        "http://w/\n",
        "http://[::1",
    ],
)
def test_any_other_url_is_refused(text: str):
    with pytest.raises(ValueError, match="want http://HOST"):
        parse_witness_url(text)


def test_a_host_that_is_not_there_is_an_error_of_that_witness():
    with pytest.raises(WitnessError, match="does not answer"):
        WitnessClient(LocalWitness().vkey, WitnessUrl("no-such-host.invalid", 80, "")).add_checkpoint(
            0, [], b"note"
        )
