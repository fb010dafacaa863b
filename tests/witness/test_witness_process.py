"""The witness as a process: HTTP on an inherited socket, a lifeline, a user of its own."""

from __future__ import annotations

import hashlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

import aar
from aar.formats.checkpoint import open_checkpoint
from aar.formats.cosignature import cosigned_at
from aar.formats.errors import MalformedKey
from aar.formats.keys import format_vkey, parse_vkey
from aar.witness.witness import MAX_REQUEST_BYTES, logs_by_origin
from witness.log_of_a_test import FROM_4_TO_5, LOG, ORIGIN, OTHER, WITNESS, checkpoint, request

SOURCE = Path(aar.__file__).parent.parent
MONITORED = f"/{hashlib.sha256(ORIGIN.encode()).hexdigest()}/checkpoint"
EXIT_TIMEOUT_S = 20
# Any user but root and ourselves.
UID = 61_234


@dataclass
class Process:
    """A running witness and what holds it: its socket's address, the far end of its lifeline, its errors."""

    popen: subprocess.Popen[bytes]
    address: str
    lifeline: int
    errors: Path

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes, str]:
        connection = http.client.HTTPConnection("witness", timeout=EXIT_TIMEOUT_S)
        connection.sock = self.connect()
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.getheader("Content-Type", "")
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        connected = socket.socket(socket.AF_UNIX)
        connected.settimeout(EXIT_TIMEOUT_S)
        connected.connect(self.address)
        return connected

    def send(self, data: bytes) -> bytes:
        """Send these bytes and no more; what comes back."""
        with self.connect() as connected:
            connected.sendall(data)
            connected.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connected.recv(65_536), b""))

    def add(self, body: bytes) -> tuple[int, bytes, str]:
        return self.ask("POST", "/add-checkpoint", body)

    def wait(self) -> tuple[int, str]:
        code = self.popen.wait(EXIT_TIMEOUT_S)
        return code, self.errors.read_text()


@contextmanager
def witness(
    state: Path, *, uid: int = 0, program: tuple[str, ...] = ("-m", "aar.witness"), vkey: str = ""
) -> Iterator[Process]:
    """Start a witness; in the end let go of its lifeline, and see that it ends by itself."""
    state.mkdir(exist_ok=True)
    # A Unix socket's path is at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="aar-") as folder, socket.socket(socket.AF_UNIX) as listener:
        address = f"{folder}/witness.sock"
        listener.bind(address)
        listener.listen()
        near, far = os.pipe()
        errors = state.with_name("errors")
        arguments = ["--state", str(state), "--listen-fd", str(listener.fileno()), "--lifeline-fd", str(near)]
        arguments += ["--log-vkey", vkey or format_vkey(LOG.vkey), "--uid", str(uid)]
        with errors.open("wb") as file:
            popen = subprocess.Popen(
                [sys.executable, "-P", *program, *arguments],
                pass_fds=[listener.fileno(), near],
                stderr=file,
                env={"PYTHONPATH": str(SOURCE)},
            )
        os.close(near)
        try:
            yield Process(popen, address, far, errors)
        finally:
            os.close(far)
            try:
                popen.wait(EXIT_TIMEOUT_S)
            finally:
                popen.kill()
                popen.wait()


def test_a_witness_cosigns_remembers_and_ends_with_its_lifeline(tmp_path: Path):
    before_s = int(time.time())
    with witness(tmp_path / "w") as process:
        status, cosignature, content_type = process.add(request(0, [], checkpoint(4)))
        assert (status, content_type) == (200, "text/plain; charset=utf-8")
        key = parse_vkey((tmp_path / "w" / "witness.vkey").read_text().removesuffix("\n"))
        assert key.name == "witness-local"
        _opened, note = open_checkpoint(checkpoint(4) + cosignature, LOG.vkey)
        assert before_s <= (cosigned_at(note, key) or 0) <= time.time()
        assert process.add(request(3, [], checkpoint(4))) == (409, b"4\n", "text/x.tlog.size")
        assert process.ask("GET", MONITORED) == (
            200,
            checkpoint(4) + cosignature,
            "text/plain; charset=utf-8",
        )
    assert process.wait() == (0, "")
    # The same key and the same memory after a restart.
    with witness(tmp_path / "w") as process:
        assert process.ask("GET", MONITORED)[1] == checkpoint(4) + cosignature
        assert process.add(request(0, [], checkpoint(5)))[:2] == (409, b"4\n")
        assert process.add(request(4, [], checkpoint(5)))[0] == 422
        status, cosignature, _type = process.add(request(4, FROM_4_TO_5, checkpoint(5)))
        assert status == 200
        assert cosigned_at(open_checkpoint(checkpoint(5) + cosignature, LOG.vkey)[1], key)


def test_what_was_answered_survives_a_kill(tmp_path: Path):
    for size in (3, 3, 3):
        with witness(tmp_path / "w") as process:
            old = 3 if (tmp_path / "w" / "state").exists() else 0
            status, cosignature, _type = process.add(request(old, [], checkpoint(size)))
            assert status == 200
            process.popen.send_signal(signal.SIGKILL)
            process.popen.wait()
        stored = (tmp_path / "w" / "state" / MONITORED[1:]).read_bytes()
        assert stored == checkpoint(size) + cosignature


def test_other_requests_are_refused_and_the_witness_goes_on(tmp_path: Path):
    with witness(tmp_path / "w") as process:
        # Without bodies: an answer that does not wait for one may close before it is sent.
        assert process.ask("POST", "/other")[0] == 404
        assert process.ask("GET", "/")[0] == 404
        assert process.ask("GET", MONITORED)[:2] == (404, b"nothing seen of that log\n")
        assert process.ask("GET", MONITORED + "/")[0] == 404
        assert process.ask("GET", MONITORED.replace("/checkpoint", "/other"))[0] == 404
        assert process.ask("PUT", "/add-checkpoint")[0] == 501
        assert process.add(b"nonsense")[0] == 400
        post = b"POST /add-checkpoint HTTP/1.1\r\n"
        assert process.send(post + b"\r\n").startswith(b"HTTP/1.1 411 ")
        for length in (b"+1", b"1_0", b"-1", b"9" * 5000):
            assert process.send(post + b"Content-Length: " + length + b"\r\n\r\nx").startswith(
                b"HTTP/1.1 411 "
            )
        too_much = str(MAX_REQUEST_BYTES + 1).encode()
        assert process.send(post + b"Content-Length: " + too_much + b"\r\n\r\n").startswith(b"HTTP/1.1 413 ")
        # A request cut short is not answered, and above all not cosigned.
        body = request(0, [], checkpoint(3))
        cut = post + b"Content-Length: " + str(len(body) + 1).encode() + b"\r\n\r\n" + body
        assert process.send(cut) == b""
        assert process.ask("GET", MONITORED)[0] == 404
        assert process.send(b"") == b""
        assert process.add(body)[0] == 200
    assert process.wait() == (0, "")


def test_a_state_that_does_not_verify_stops_the_start(tmp_path: Path):
    state = tmp_path / "w" / "state" / MONITORED[1:]
    with witness(tmp_path / "w") as process:
        assert process.add(request(0, [], checkpoint(3)))[0] == 200
    state.write_bytes(state.read_bytes().replace(b"\n3\n", b"\n2\n"))
    with witness(tmp_path / "w") as process:
        code, errors = process.wait()
    assert code == 27
    assert errors.startswith("the witness halted: state/")
    assert "not over this text" in errors
    assert errors.count("\n") == 1


def test_a_lost_key_stops_the_start_rather_than_being_replaced_unseen(tmp_path: Path):
    with witness(tmp_path / "w") as process:
        assert process.add(request(0, [], checkpoint(3)))[0] == 200
    (tmp_path / "w" / "witness.key").unlink()
    with witness(tmp_path / "w") as process:
        code, errors = process.wait()
    assert (code, "not cosigned by witness-local" in errors) == (27, True)


def test_a_malformed_log_key_stops_the_start(tmp_path: Path):
    with witness(tmp_path / "w", vkey="log+00000000+AAAA") as process:
        code, errors = process.wait()
    assert (code, errors.startswith("the witness halted: verifier key")) == (27, True)


def test_what_cannot_be_stored_is_not_answered(tmp_path: Path):
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "state").write_text("in the way")
    with witness(tmp_path / "w") as process:
        with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
            process.add(request(0, [], checkpoint(3)))
        code, errors = process.wait()
    assert code == 28
    assert errors.startswith("the witness cannot store what it saw: ")


def test_a_witness_whose_directory_cannot_be_written_does_not_start(tmp_path: Path):
    (tmp_path / "w" / "witness.vkey").mkdir(parents=True)
    with witness(tmp_path / "w") as process:
        code, errors = process.wait()
    assert code == 28
    assert errors.startswith("the witness cannot store its key: ")


# Stands for root's drop to another user, and ends the process if anything is imported after it.
DROPPING = """
import os, sys
os.getuid = lambda: 0
os.setgroups = os.setresgid = lambda *ids: None
def end_on_import(event, arguments):
    if event == "import":
        os.write(2, ("imported after the drop: %s" % arguments[0]).encode())
        os._exit(99)
os.setresuid = lambda *ids: sys.addaudithook(end_on_import)
from aar.witness.__main__ import main
main(sys.argv[1:])
"""


def test_nothing_is_imported_after_the_drop_to_another_user(tmp_path: Path):
    with witness(tmp_path / "w", uid=UID, program=("-c", DROPPING)) as process:
        body = request(0, [], checkpoint(4))
        assert process.add(body.replace(b"old 0", b"old \xff"))[0] == 400
        assert process.add(body)[0] == 200
        assert process.add(body)[0] == 409
        assert process.ask("GET", MONITORED)[0] == 200
        assert process.ask("PUT", "/")[0] == 501
        assert process.send(b"nonsense\r\n\r\n")
        assert process.send(b"") == b""
    assert process.wait() == (0, "")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_witness_of_root_becomes_a_user_of_its_own(tmp_path: Path):
    # Only root may enter the directory above: the witness was there before it became somebody else.
    tmp_path.chmod(0o700)
    (tmp_path / "w").mkdir()
    os.chown(tmp_path / "w", UID, UID)
    with witness(tmp_path / "w", uid=UID) as process:
        assert process.add(request(0, [], checkpoint(4)))[0] == 200
        status = Path(f"/proc/{process.popen.pid}/status").read_text().split("\n")
        ids = {line.split(":")[0]: line.split()[1:] for line in status if line}
        assert ids["Uid"] == ids["Gid"] == [str(UID)] * 4
        assert ids["Groups"] == []
        assert ids["CapEff"] == ids["CapPrm"] == ["0" * 16]
    for name in ("witness.key", "witness.vkey", "state"):
        assert (tmp_path / "w" / name).stat().st_uid == UID
    assert process.wait() == (0, "")


def test_logs_are_known_by_the_name_of_their_key():
    assert logs_by_origin([LOG.vkey, OTHER.vkey]) == {
        ORIGIN: LOG.vkey,
        OTHER.name: OTHER.vkey,
    }


def test_a_log_has_one_plain_key():
    with pytest.raises(MalformedKey, match="two keys for the log log.example/1"):
        logs_by_origin([LOG.vkey] * 2)
    with pytest.raises(MalformedKey, match="the key of log witness-local is a cosignature key"):
        logs_by_origin([WITNESS.vkey])
