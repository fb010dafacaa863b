"""The witness client: what goes over the socket, and what any answer comes to."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from aar.outside.record.errors import QuorumNotMet, WitnessConflict, WitnessError
from aar.outside.record.witness_client import MAX_ANSWER_BYTES, WitnessClient, format_request
from record.world import LocalWitness, World, entries

VKEY = LocalWitness().vkey


class CannedWitness:
    """Answers every request with the same bytes and keeps what it was sent."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.received = b""

    def connect(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.settimeout(0.5)
        threading.Thread(target=self._serve, args=(theirs,), daemon=True).start()
        return ours

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            head, body = b"", b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(65_536)
            head, _, body = head.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            while len(body) < length:
                body += connection.recv(65_536)
            self.received = body
            if not self.answer:
                connection.recv(1)  # until the client, which has waited long enough, hangs up
            with suppress(BrokenPipeError):  # a client that gave up does not read its answer
                connection.sendall(self.answer)


def http_answer(status: str, body: bytes) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def ask(answer: bytes) -> bytes:
    return WitnessClient(VKEY, CannedWitness(answer).connect).add_checkpoint(0, [], b"note")


def test_the_request_is_the_one_of_tlog_witness():
    canned = CannedWitness(http_answer("200 OK", b"line\n"))
    client = WitnessClient(VKEY, canned.connect)
    assert client.add_checkpoint(7, [bytes(32), b"\xff" * 32], b"text\n\nsignature\n") == b"line\n"
    assert canned.received == (
        b"old 7\n" + b"A" * 43 + b"=\n" + b"/" * 42 + b"8=\n" + b"\n" + b"text\n\nsignature\n"
    )


def test_a_proof_longer_than_any_tree_needs_is_not_sent():
    with pytest.raises(ValueError, match="64 hashes"):
        format_request(1, [bytes(32)] * 64, b"note")


def test_a_conflict_says_which_size_the_witness_saw():
    with pytest.raises(WitnessConflict) as conflict:
        ask(http_answer("409 Conflict", b"42\n"))
    assert conflict.value.size == 42


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (http_answer("409 Conflict", b"+42\n"), "want a size"),
        (http_answer("409 Conflict", b"42\n\n"), "want a size"),
        (http_answer("409 Conflict", b"42"), "want a newline"),
        (http_answer("409 Conflict", b"\xff\n"), "want a size"),
        (http_answer("404 Not Found", b"unknown log\n"), "404: 'unknown log'"),
        (http_answer("422 Unprocessable", b"\xff"), "422"),
        (http_answer("200 OK", b"x" * (MAX_ANSWER_BYTES + 1)), "want signature lines"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", "4 bytes are missing"),
        (b"no HTTP at all\r\n\r\n", "does not answer"),
        (b"", "does not answer"),
    ],
)
def test_any_other_answer_is_an_error_of_that_witness(answer: bytes, reason: str):
    with pytest.raises(WitnessError, match=reason):
        ask(answer)


def test_a_socket_that_is_not_there_is_an_error_of_that_witness(tmp_path: Path):
    with pytest.raises(WitnessError, match="does not answer"):
        WitnessClient(VKEY, tmp_path / "nobody.sock").add_checkpoint(0, [], b"note")


def test_the_real_witness_cosigns_over_a_unix_socket_and_a_restart_goes_on(
    real_world: World, served_witness: WitnessClient
):
    real_world.witnesses = [served_witness]
    for size in (3, 4):
        sequencer = real_world.open()
        sequencer.append(entries(sequencer.size, size - sequencer.size))
        sequencer.publish()
        sequencer.heartbeat()
        sequencer.close()
        assert real_world.check_public().size == size


def test_the_real_witness_refuses_a_second_history(real_world: World, served_witness: WitnessClient):
    real_world.witnesses = [served_witness]
    first = real_world.open()
    first.append(entries(0, 3))
    first.publish()
    first.close()
    # Another record under the same key, with a witness of its own while it grows past the first.
    other = World(real_world.disk, public=Path("other-record"), private=Path("other"))
    second = other.open()
    second.append(entries(10, 5))
    second.publish()
    second.close()
    other.witnesses = real_world.witnesses
    again = other.open()
    with pytest.raises(QuorumNotMet, match="422"):
        again.heartbeat()
    again.close()
