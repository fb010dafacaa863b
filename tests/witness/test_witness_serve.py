"""`aar witness serve`: tlog-witness over TCP for any log, many callers, durable answers, an end in order."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import stat
import threading
import time
from pathlib import Path

import pytest

from aar.formats.checkpoint import open_checkpoint
from aar.formats.cosignature import cosigned_at
from aar.formats.keys import COSIGNATURE, Signer, format_vkey
from aar.formats.policy import Policy, format_policy
from aar.verify.merkle import root_of
from aar.witness.server import MAX_CONNECTIONS_PER_HOST, Cosigner
from aar.witness.store import WitnessStore
from aar.witness.witness import MAX_REQUEST_BYTES, Seen
from witness.log_of_a_test import (
    FROM_4_TO_5,
    LEAVES,
    LOG,
    ORIGIN,
    OTHER,
    WITNESS,
    checkpoint,
    request,
)
from witness.served import Served, run_aar, served

MONITORED = f"/{hashlib.sha256(ORIGIN.encode()).hexdigest()}/checkpoint"
LOGS = (LOG.vkey, OTHER.vkey)


def test_it_cosigns_for_logs_that_are_not_ours_and_goes_on_after_a_restart(tmp_path: Path):
    before_s = int(time.time())
    with served(tmp_path / "w", LOGS, "--name", "example.com/w") as one:
        assert one.vkey.name == "example.com/w"
        status, cosignature, content_type = one.add(request(0, [], checkpoint(4)))
        assert (status, content_type) == (200, "text/plain; charset=utf-8")
        _opened, note = open_checkpoint(checkpoint(4) + cosignature, LOG.vkey)
        assert before_s <= (cosigned_at(note, one.vkey) or 0) <= time.time()
        other = checkpoint(2, origin=OTHER.name, signer=OTHER)
        assert one.add(request(0, [], other))[0] == 200
        assert one.ask("GET", MONITORED)[:2] == (200, checkpoint(4) + cosignature)
        code, out, errors = one.end()
        assert (code, out, errors) == (0, "stopped in order\n", "")
    with served(tmp_path / "w", LOGS) as again:
        assert again.vkey == one.vkey
        assert again.ask("GET", MONITORED)[1] == checkpoint(4) + cosignature
        assert again.add(request(0, [], checkpoint(5))) == (409, b"4\n", "text/x.tlog.size")
        assert again.add(request(4, FROM_4_TO_5, checkpoint(5)))[0] == 200


def test_each_refusal_has_the_status_of_the_specification(tmp_path: Path):
    with served(tmp_path / "w", LOGS) as one:
        assert one.add(request(0, [], checkpoint(4)))[0] == 200
        for body, status in (
            (b"nonsense", 400),
            (request(4, [], checkpoint(3)), 400),
            (request(0, [], checkpoint(5, origin="log.example/3")), 404),
            (request(4, FROM_4_TO_5, checkpoint(5, signer=OTHER)), 403),
            (request(3, [], checkpoint(5)), 409),
            (request(4, [], checkpoint(5)), 422),
            (request(4, [], checkpoint(4, root=bytes(32))), 422),
            (request(4, FROM_4_TO_5, checkpoint(5)), 200),
        ):
            assert one.add(body)[0] == status
        assert one.ask("POST", "/other", b"")[0] == 404
        assert one.ask("GET", "/other")[0] == 404
        assert one.ask("GET", "/" + "0" * 64 + "/checkpoint")[0] == 404
        post = b"POST /add-checkpoint HTTP/1.1\r\n"
        two = b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx"
        for rest in (b"\r\n", b"Content-Length: +1\r\n\r\nx", b"Transfer-Encoding: chunked\r\n\r\n", two):
            assert one.send(post + rest).startswith(b"HTTP/1.1 411 "), rest
        too_much = str(MAX_REQUEST_BYTES + 1).encode()
        assert one.send(post + b"Content-Length: " + too_much + b"\r\n\r\n").startswith(b"HTTP/1.1 413 ")


def test_a_request_that_is_cut_short_is_not_cosigned(tmp_path: Path):
    body = request(0, [], checkpoint(3))
    head = b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: " + str(len(body) + 1).encode() + b"\r\n\r\n"
    with served(tmp_path / "w", LOGS) as one:
        assert one.send(head + body) == b""
        assert one.ask("GET", MONITORED)[0] == 404


def test_one_connection_may_carry_many_requests(tmp_path: Path):
    body = request(0, [], checkpoint(0))
    head = b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: " + str(len(body)).encode() + b"\r\n\r\n"
    with served(tmp_path / "w", LOGS) as one:
        assert one.send((head + body) * 3).count(b"HTTP/1.1 200 OK") == 3


def test_what_was_answered_survives_a_kill(tmp_path: Path):
    for old in (0, 3, 3):
        with served(tmp_path / "w", LOGS) as one:
            status, cosignature, _type = one.add(request(old, [], checkpoint(3)))
            one.popen.send_signal(signal.SIGKILL)
            one.popen.wait()
        assert status == 200
        assert (tmp_path / "w" / "state" / MONITORED[1:]).read_bytes() == checkpoint(3) + cosignature


def test_of_many_histories_offered_at_once_one_is_cosigned(tmp_path: Path):
    """Compare and store are one step: sixteen callers with a tree each, one of them is the log's."""
    roots = [root_of(LEAVES[:4])] + [bytes([number]) * 32 for number in range(1, 16)]
    statuses: list[int] = []
    with served(tmp_path / "w", LOGS) as one:
        start = threading.Barrier(len(roots))

        def offer(root: bytes) -> None:
            start.wait()
            statuses.append(one.add(request(0, [], checkpoint(4, root=root)))[0])

        threads = [threading.Thread(target=offer, args=(root,)) for root in roots]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(statuses) == [200] + [409] * 15


class _StoreOvertaken(WitnessStore):
    """While the first store is on its way, another request comes and must wait for it."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.is_storing = threading.Event()
        self.may_go_on = threading.Event()

    def save(self, origin: str, seen: Seen) -> None:
        self.is_storing.set()
        assert self.may_go_on.wait(20)
        super().save(origin, seen)


def test_a_request_checked_before_another_was_stored_is_checked_again(tmp_path: Path):
    store = _StoreOvertaken(tmp_path)
    cosigner = Cosigner({ORIGIN: LOG.vkey}, store, WITNESS, clock_s=lambda: 1, on_fatal=pytest.fail)
    statuses: dict[str, int] = {}

    def offer(name: str, body: bytes) -> None:
        statuses[name] = cosigner.add(body).status

    first = threading.Thread(target=offer, args=("first", request(0, [], checkpoint(4))))
    first.start()
    assert store.is_storing.wait(20)
    second = threading.Thread(
        target=offer, args=("second", request(0, [], checkpoint(5, root=bytes(range(32)))))
    )
    second.start()
    while not cosigner._locks[ORIGIN].locked():
        time.sleep(0.001)
    time.sleep(0.05)
    store.may_go_on.set()
    first.join()
    second.join()
    assert statuses == {"first": 200, "second": 409}


def test_callers_that_say_nothing_or_little_do_not_stop_the_others(tmp_path: Path):
    with served(tmp_path / "w", LOGS) as one:
        silent = [one.connect() for _ in range(MAX_CONNECTIONS_PER_HOST - 2)]
        silent[0].sendall(b"POST /add-checkpoint HTTP/1.1\r\nContent-Le")
        started = time.monotonic()
        assert one.add(request(0, [], checkpoint(4)))[0] == 200
        assert time.monotonic() - started < 2
        # A host that takes all its connections is told so, and gets them back when its time is over.
        silent += [one.connect() for _ in range(8)]
        assert b"503" in silent[-1].recv(100)
        # One that sends a byte now and then has no more time than one that sends none.
        deadline = time.monotonic() + 15
        trickle = silent[1]
        is_closed = False
        while not is_closed and time.monotonic() < deadline:
            time.sleep(0.5)
            try:
                trickle.sendall(b"P")
                trickle.settimeout(0.01)
                is_closed = trickle.recv(1) == b""
            except TimeoutError:
                continue
            except OSError:
                is_closed = True
        assert is_closed
        assert one.add(request(4, FROM_4_TO_5, checkpoint(5)))[0] == 200
        for connection in silent:
            connection.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_in_order_while_callers_are_connected(tmp_path: Path, number: int):
    with served(tmp_path / "w", LOGS) as one, one.connect(), one.connect() as half:
        half.sendall(b"POST /add-checkpoint HTTP/1.1\r\n")
        started = time.monotonic()
        assert one.end(number) == (0, "stopped in order\n", "")
        assert time.monotonic() - started < 4


def test_its_key_is_private_and_vkey_prints_the_public_half(tmp_path: Path):
    done = run_aar("witness", "vkey", "--state", str(tmp_path / "w"))
    assert done.returncode == 0
    key = tmp_path / "w" / "witness.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    with served(tmp_path / "w", LOGS) as one:
        assert done.stdout == format_vkey(one.vkey) + "\n"
        # It may be asked for while the witness serves.
        assert run_aar("witness", "vkey", "--state", str(tmp_path / "w")).stdout == done.stdout
    other = run_aar("witness", "vkey", "--state", str(tmp_path / "v"))
    assert other.stdout.split("+")[0] != done.stdout.split("+")[0]


def test_a_policy_names_the_log(tmp_path: Path):
    (tmp_path / "policy").write_text(format_policy(Policy.with_one_witness(LOG.vkey, "w", WITNESS.vkey)))
    with served(tmp_path / "w", (), "--policy", str(tmp_path / "policy")) as one:
        assert one.add(request(0, [], checkpoint(4)))[0] == 200


def refused(tmp_path: Path, *arguments: str, log: str = format_vkey(LOG.vkey)) -> str:
    """The one line that a witness which does not start says."""
    defaults = {"--state": str(tmp_path / "w"), "--listen": "127.0.0.1:0", "--log": log}
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    words = [word for pair in (defaults | given).items() for word in pair if pair[1]]
    done = run_aar("witness", "serve", *words)
    assert (done.returncode, done.stdout) == (2, ""), done
    assert done.stderr.startswith("aar: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_bad_input_is_said_in_one_line(tmp_path: Path):
    assert "--log: verifier key" in refused(tmp_path, log="log+00000000+AAAA")
    assert "no log to witness" in refused(tmp_path, log="")
    assert "is a cosignature key" in refused(tmp_path, log=format_vkey(WITNESS.vkey))
    assert "want a policy file" in refused(tmp_path, "--policy", str(tmp_path / "none"))
    (tmp_path / "bad").write_text("log x\n")
    assert "is not a policy" in refused(tmp_path, "--policy", str(tmp_path / "bad"))
    for listen in ("8080", "127.0.0.1:080", "127.0.0.1:65536", "127.0.0.1:", ":1", "1 2:3"):
        assert "want HOST:PORT" in refused(tmp_path, "--listen", listen)
    assert not (tmp_path / "w").exists()
    assert "key name" in refused(tmp_path, "--name", "a b")


def test_a_port_that_is_taken_is_said(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "Address already in use" in refused(tmp_path, "--listen", f"127.0.0.1:{port}")


def test_a_state_that_is_in_use_is_refused(tmp_path: Path):
    with served(tmp_path / "w", LOGS):
        assert "another witness uses this state" in refused(tmp_path)


def test_a_state_of_another_key_is_refused(tmp_path: Path):
    with served(tmp_path / "w", LOGS, "--name", "example.com/w") as one:
        assert one.add(request(0, [], checkpoint(4)))[0] == 200
    assert "is the state of witness example.com/w" in refused(tmp_path, "--name", "example.com/v")
    key = tmp_path / "w" / "witness.key"
    own = key.read_text()
    key.unlink()
    assert "holds no witness.key" in refused(tmp_path)
    from aar.formats.keys import format_skey

    key.write_text(format_skey(Signer("example.com/w", bytes(32), COSIGNATURE)) + "\n")
    key.chmod(0o644)
    assert "chmod 600" in refused(tmp_path)
    key.chmod(0o600)
    assert "not cosigned by example.com/w" in refused(tmp_path)
    key.write_text("nothing\n")
    assert "not a private key" in refused(tmp_path)
    key.write_text(own)
    with served(tmp_path / "w", LOGS) as again:
        assert again.ask("GET", MONITORED)[0] == 200


def test_a_directory_of_something_else_is_refused(tmp_path: Path):
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "notes").write_text("mine")
    assert "is not empty and holds no witness.key" in refused(tmp_path)
    assert os.listdir(tmp_path / "w") == ["notes"]
    (tmp_path / "file").write_text("")
    assert "is a file" in refused(tmp_path, "--state", str(tmp_path / "file"))


def test_what_cannot_be_stored_is_not_answered_and_ends_the_witness(tmp_path: Path):
    def add(one: Served) -> object:
        try:
            return one.add(request(0, [], checkpoint(4)))
        except OSError as error:
            return error

    with served(tmp_path / "w", LOGS) as one:
        (tmp_path / "w" / "state").write_text("in the way")
        assert isinstance(add(one), OSError)
        _out, errors = one.popen.communicate(timeout=20)
    assert one.popen.returncode == 2
    assert errors.startswith("aar: the witness cannot store what it saw: ")
