"""`aar sandbox exec`: a command in a researcher's sandbox, its streams and its exit status."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from aar.cli.main import EXIT_SANDBOX_ENDED
from aar.outside.sandbox import client as clients

pytestmark = pytest.mark.sandbox

SOURCE = Path(clients.__file__).parents[3]
AAR = (sys.executable, "-P", "-m", "aar", "sandbox", "exec")


def execute(*words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*AAR, *words],
        input=stdin,
        capture_output=True,
        env={"PYTHONPATH": str(SOURCE), "PATH": os.environ["PATH"], "CANARY": "canary-of-the-caller"},
        timeout=60,
        check=False,
    )


SEEN = """
import os, resource, socket, sys
with socket.socket(socket.AF_UNIX) as gateway:
    gateway.connect('/run/gw/gw.sock')
told = open('/proc/self/status').read()
print([line.split()[1] for line in told.splitlines() if line.startswith(('CapEff', 'Seccomp_filters'))])
print(resource.getrlimit(resource.RLIMIT_NPROC)[1], resource.getrlimit(resource.RLIMIT_DATA)[1] >> 20)
print('canary' in str(os.environ), sorted(os.listdir('/proc/self/fd')))
print(sys.stdin.buffer.read().hex(), file=sys.stderr)
sys.exit(7)
"""


def test_a_command_gets_what_a_researcher_gets_and_its_streams_and_status_come_back(backend: None) -> None:
    done = execute("--backend", "bubblewrap", "--", "python3", "-c", SEEN, stdin=b"\x00\xff\n")
    assert done.stderr.decode() == "00ff0a\n"
    assert done.stdout.decode().splitlines() == [
        "['0000000000000000', '2']",
        "64 1024",
        "False ['0', '1', '2', '3']",
    ]
    assert done.returncode == 7


def test_a_sandbox_that_ends_without_a_status_says_its_reason(backend: None) -> None:
    hungry = (
        "import os, time\nfor _ in range(5):\n  if os.fork() == 0: kept = b'x' * (230 << 20); time.sleep(20)"
    )
    done = execute("--", "python3", "-c", hungry + "\ntime.sleep(20)")
    assert done.returncode == EXIT_SANDBOX_ENDED
    assert done.stderr.startswith(b"aar: the sandbox ended: memory: ")


def test_a_command_that_dies_of_a_signal_has_that_status_and_no_reason_of_ours(backend: None) -> None:
    done = execute("--", "python3", "-c", "import os; os.kill(os.getpid(), 9)")
    assert (done.returncode, done.stderr) == (128 + 9, b"")


def test_what_it_writes_to_a_terminal_cannot_act_on_it(backend: None) -> None:
    ours, theirs = pty.openpty()
    try:
        code = r"print('a\x1b[2Jb\x9bc'); print('d')"
        words = [*AAR, "--", "python3", "-c", code]
        subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=theirs, env={"PYTHONPATH": str(SOURCE)}, check=True
        )
        assert os.read(ours, 1000) == b"a\\x1b[2Jb\\x9bc\r\nd\r\n"
    finally:
        os.close(ours)
        os.close(theirs)


def test_another_backend_is_refused(backend: None) -> None:
    done = execute("--backend", "docker-in-docker", "--", "python3")
    assert done.returncode == 2
    assert b"bubblewrap" in done.stderr
