"""Sessions in real sandboxes: commands, files, and what a hostile command can do to who asked for it."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from aar.outside.sandbox import client as clients
from aar.outside.sandbox import session as sessions
from aar.outside.sandbox.client import LauncherClient
from aar.outside.sandbox.session import (
    AT_ONCE,
    CallRefused,
    ExecResult,
    FileRefused,
    Session,
    SessionEnded,
    SnapshotCaps,
)
from aar.outside.sandbox.spec import SandboxSpec, SandboxUnavailable

pytestmark = pytest.mark.sandbox

_SLOTS = itertools.count(300)
Open = Callable[..., Session]


@pytest.fixture(scope="module")
def open_session(client: LauncherClient) -> Iterator[Open]:
    """Sessions that are closed at the end, whatever happened in them."""
    opened: list[Session] = []

    def open_one(**changes: object) -> Session:
        given = {"memory_mib": 512, "processes": 64, "cpu_s": 200, "wall_s": 900.0, "has_shell": True}
        spec = SandboxSpec(
            name="session",
            profile="researcher",
            argv=("-",),
            uid_slot=next(_SLOTS),
            **{**given, **changes},  # type: ignore[arg-type]
        )
        opened.append(Session.open(client, spec))
        return opened[-1]

    yield open_one
    for session in opened:
        session.close()


@pytest.fixture
def open_pipes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pipes that the sandbox's uid may open through /proc, as those of an ordinary user are."""
    make = clients._pipe_end

    def make_open(far: list[int], near: list[int], *, writing: bool) -> int:
        ours = make(far, near, writing=writing)
        os.fchmod(ours, 0o666)
        return ours

    monkeypatch.setattr(clients, "_pipe_end", make_open)


@pytest.fixture(scope="module")
def shared(open_session: Open) -> Session:
    """One session for all that leaves it as it was."""
    return open_session()


def bash(session: Session, script: str, **more: object) -> ExecResult:
    return session.exec(["bash", "-c", script], **{"timeout_s": 30.0, **more})  # type: ignore[arg-type]


def python(session: Session, code: str, **more: object) -> ExecResult:
    argv = ["python3", "-S", "-c", code]
    return session.exec(argv, **{"timeout_s": 30.0, **more})  # type: ignore[arg-type]


def running_in(session: Session, word: str) -> bool:
    """Whether a process in there has `word` on its command line."""
    found = bash(session, f"pgrep -f -- '[{word[0]}]{word[1:]}'")
    return found.returncode == 0


# Commands


def test_a_command_gets_its_words_input_directory_and_variables_and_tells_its_end(shared: Session) -> None:
    result = shared.exec(
        [
            "sh",
            "-c",
            'cat; printf "%s|" "$@" "$WORD" "$PWD" "$HOME"; echo no >&2; exit 7',
            "-",
            "a b",
            "\udcff",
        ],
        stdin=b"\x00\xff",
        cwd="/tmp",
        env={"WORD": "w=1"},
    )
    assert result == ExecResult(
        returncode=7,
        stdout=b"\x00\xffa b|\xff|w=1|/tmp|/workspace|",
        stderr=b"no\n",
        truncated=False,
        reason="exited",
    )


def test_nothing_of_ours_is_in_its_environment_or_among_its_descriptors(
    shared: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "canary")
    assert b"canary" not in bash(shared, "env; cat /proc/*/environ 2>/dev/null").stdout
    assert python(shared, "import os; print(os.listdir('/proc/self/fd'))").stdout == b"['0', '1', '2', '3']\n"


@pytest.mark.parametrize(
    ("argv", "cwd", "code", "said"),
    [
        (["no-such-program"], "/workspace", 127, b"no-such-program: No such file or directory\n"),
        (["/etc/passwd"], "/workspace", 126, b"/etc/passwd: Permission denied\n"),
        (["true"], "/nowhere", 127, b"/nowhere: No such file or directory\n"),
        (["sh", "-c", "kill -9 $$"], "/workspace", 137, b""),
    ],
)
def test_what_cannot_run_or_dies_has_the_status_that_a_shell_gives_it(
    shared: Session, argv: list[str], cwd: str, code: int, said: bytes
) -> None:
    result = shared.exec(argv, cwd=cwd)
    assert (result.returncode, result.stderr, result.reason) == (code, said, "exited")


def test_output_past_the_cap_is_cut_and_said_to_be(shared: Session) -> None:
    result = bash(shared, "seq 100000; seq 100000 >&2", output_bytes=1000)
    whole = "".join(f"{number}\n" for number in range(1, 400)).encode()[:1000]
    assert (result.stdout, result.stderr) == (whole, whole)
    assert (result.truncated, result.reason, result.returncode) == (True, "exited", 0)
    assert not bash(shared, "printf %1000s", output_bytes=1000).truncated


def test_output_byte_by_byte_is_gathered_and_arrives_whole(shared: Session) -> None:
    result = python(shared, "import os\nfor _ in range(20000): os.write(1, b'x'); os.write(2, b'y')")
    assert (result.stdout, result.stderr, result.reason) == (b"x" * 20000, b"y" * 20000, "exited")


def test_one_that_writes_without_end_is_ended_for_its_output(shared: Session) -> None:
    result = bash(shared, "exec yes", output_bytes=1000, timeout_s=60.0)
    assert (len(result.stdout), result.truncated, result.reason) == (1000, True, "output")


LEAVE_DAEMONS = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(2):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(600)
        os._exit(0)
print("up", flush=True)
"""


def test_at_the_end_of_its_time_all_descendants_die_daemons_too(shared: Session) -> None:
    began = time.monotonic()
    result = python(shared, LEAVE_DAEMONS + "time.sleep(600)\n# late-ones", timeout_s=1.0)
    assert (result.reason, result.stdout) == ("wall", b"up\n")
    assert 1.0 <= time.monotonic() - began < 15
    assert not running_in(shared, "late-ones")


def test_a_command_that_is_not_wanted_any_more_is_ended_at_once(shared: Session) -> None:
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    began = time.monotonic()
    result = python(shared, LEAVE_DAEMONS + "time.sleep(600)\n# unwanted-ones", timeout_s=600.0, stop=stop)
    assert (result.reason, result.stdout) == ("wall", b"up\n")
    assert time.monotonic() - began < 20
    assert not running_in(shared, "unwanted-ones")
    assert bash(shared, "echo on", stop=threading.Event()).stdout == b"on\n"


def test_what_is_left_in_the_background_keeps_nobody_waiting_and_lives_until_the_sandbox_ends(
    open_session: Open,
) -> None:
    session = open_session()
    began = time.monotonic()
    result = python(session, LEAVE_DAEMONS + "# left-ones", timeout_s=60.0)
    assert (result.reason, result.returncode, result.stdout) == ("exited", 0, b"up\n")
    assert time.monotonic() - began < 20  # they hold its output open
    assert running_in(session, "left-ones")
    # One that writes afterwards does not die of it.
    bash(session, "(sleep 0.3; seq 100000; echo more > after) & echo $!")
    until = time.monotonic() + 20
    while bash(session, "cat after").stdout != b"more\n" and time.monotonic() < until:
        time.sleep(0.1)
    assert bash(session, "cat after").stdout == b"more\n"
    assert session.close().reason == "killed"


def test_as_many_as_may_run_at_once_do_and_the_next_waits(shared: Session) -> None:
    def one(number: int) -> bytes:
        return bash(shared, f"echo {number}; exec cat", stdin=b"x" * number, timeout_s=60.0).stdout

    with ThreadPoolExecutor(AT_ONCE + 4) as pool:
        told = list(pool.map(one, range(AT_ONCE + 4)))
    assert told == [f"{number}\n{'x' * number}".encode() for number in range(AT_ONCE + 4)]


def test_one_that_finds_no_place_in_its_time_is_not_started(
    open_session: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "AT_ONCE", 1)
    session = open_session()
    first = threading.Thread(target=lambda: bash(session, "sleep 2"))
    first.start()
    time.sleep(0.3)
    result = bash(session, "touch started", timeout_s=0.2)
    assert (result.returncode, result.reason) == (126, "wall")
    first.join()
    assert bash(session, "cat started").returncode == 1


def test_a_command_that_kills_its_keeper_is_over_and_the_others_go_on(shared: Session) -> None:
    result = bash(shared, "kill -9 $PPID; sleep 5")
    assert (result.reason, result.returncode) == ("exited", 137)
    assert shared.is_alive()


def test_large_commands_and_inputs_arrive_whole(shared: Session) -> None:
    words = ["x" * 60_000] * 16
    assert shared.exec(["printf", "%s", *words]).stdout == "".join(words).encode()
    size = 8 << 20
    result = shared.exec(["wc", "-c"], stdin=bytes(size), timeout_s=60.0)
    assert result.stdout.split() == [str(size).encode()]


@pytest.mark.parametrize(
    "given",
    [
        {"argv": []},
        {"argv": "ls"},
        {"argv": [""]},
        {"argv": ["ls", "a\0b"]},
        {"argv": ["ls"], "cwd": "a\0"},
        {"argv": ["ls"], "env": {"A=B": "c"}},
        {"argv": ["ls"], "timeout_s": 0},
        {"argv": ["ls"], "timeout_s": float("nan")},
        {"argv": ["ls"], "output_bytes": -1},
        {"argv": ["ls", "x" * (5 << 20)]},
        {"argv": ["ls"], "stdin": bytes(sessions.MAX_INPUT_BYTES + 1)},
    ],
)
def test_what_no_command_may_be_is_refused_before_it_is_sent(
    shared: Session, given: dict[str, object]
) -> None:
    with pytest.raises(CallRefused):
        shared.exec(**given)  # type: ignore[arg-type]
    assert shared.is_alive()


# Files


def test_files_are_written_with_their_directories_and_read_back(shared: Session) -> None:
    content = bytes(range(256)) * 4096
    shared.write_file("made/for/this", content)
    assert shared.read_file("/workspace/made/for/this") == content
    shared.write_file("made/for/this", b"")
    assert shared.read_file("made/for/this") == b""


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("nothing-here", FileNotFoundError),
        ("/etc", IsADirectoryError),
        ("closed", PermissionError),
        ("zero", FileRefused),
        ("pipe", FileRefused),
        ("round", OSError),
    ],
)
def test_what_is_no_file_or_not_to_be_read_is_said_by_its_kind(
    shared: Session, path: str, error: type[Exception]
) -> None:
    made = "rm -rf zero pipe round closed; ln -s /dev/zero zero; mkfifo pipe; ln -s round round; touch closed"
    bash(shared, f"{made}; chmod 0 closed")
    with pytest.raises(error, match=path):
        shared.read_file(path)


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/etc/passwd", OSError),
        ("/new", OSError),
        ("/tmp", IsADirectoryError),
        ("/dev/full", FileRefused),
        ("closed", PermissionError),
    ],
)
def test_what_cannot_be_written_is_said_and_the_session_goes_on(
    shared: Session, path: str, error: type[Exception]
) -> None:
    bash(shared, "rm -f closed; touch closed; chmod 0 closed")
    with pytest.raises(error, match=path):
        shared.write_file(path, b"x" * 200_000)
    assert shared.is_alive()


def test_a_link_leads_where_it_does_in_there_and_never_to_a_file_of_ours(shared: Session) -> None:
    bash(shared, f"ln -sf /etc/passwd ours; ln -sf {os.path.abspath(__file__)} theirs")
    assert shared.read_file("ours").startswith(b"agent:x:1000")
    with pytest.raises(FileNotFoundError):
        shared.read_file("theirs")


def test_a_large_file_is_refused_by_its_size_and_one_that_lies_about_it_by_count(shared: Session) -> None:
    # The largest that there can be is 256 MiB: a gibibyte is refused to the program that wants it.
    assert bash(shared, "truncate -s 1G large").returncode == 128 + signal.SIGXFSZ
    bash(shared, "truncate -s 256M large")
    with pytest.raises(FileRefused, match="large"):
        shared.read_file("large", max_bytes=1 << 20)
    assert shared.read_file("/proc/self/status", max_bytes=1 << 20)
    with pytest.raises(FileRefused):
        shared.read_file("/proc/self/status", max_bytes=10)
    bash(shared, "rm large")


def test_a_full_disk_is_the_error_that_it_is(open_session: Open) -> None:
    session = open_session(memory_mib=64)
    with pytest.raises(OSError, match="No space left"):
        session.write_file("large", bytes(40 << 20))
    assert session.is_alive()


# Snapshots


MIXED = """
mkdir -p s/a/b/c s/empty s/shut && cd s
printf 1 > one; printf 22 > a/two; printf 333 > a/b/three; printf 4444 > a/b/c/four; printf 5 > shut/five
ln -s /etc/passwd link; ln -s a dirlink; mkfifo pipe; printf x > $'new\\nline'; printf x > $'\\xff'
printf x > secret; chmod 0 secret shut
"""


def test_a_snapshot_has_every_file_and_tells_what_it_leaves_out(shared: Session) -> None:
    assert bash(shared, MIXED).returncode == 0
    taken = shared.snapshot("s", caps=SnapshotCaps(max_depth=2))
    assert taken == {"one": b"1", "a/two": b"22", "a/b/three": b"333"}
    assert taken.skipped == {
        "a/b/c": "depth",
        "dirlink": "symlink",
        "link": "symlink",
        "new\\nline": "name",
        "pipe": "not-a-file",
        "secret": "unreadable",
        "shut": "unreadable",
        "\\udcff": "name",
    }


@pytest.mark.parametrize("caps", [SnapshotCaps(max_files=2), SnapshotCaps(max_bytes=5)])
def test_more_than_a_snapshot_may_hold_is_refused(shared: Session, caps: SnapshotCaps) -> None:
    bash(shared, "mkdir -p t; printf 111 > t/one; printf 222 > t/two; ln -s a t/l; ln -s a t/m; ln -s a t/n")
    with pytest.raises(FileRefused, match="more than was asked for"):
        shared.snapshot("t", caps=caps)
    with pytest.raises(FileNotFoundError):
        shared.snapshot("no-such-folder")


def test_a_name_that_is_too_long_is_left_out(shared: Session) -> None:
    bash(shared, "mkdir -p u/$(printf %0200d 0); touch u/$(printf %0200d 0)/$(printf %0100d 1) u/short")
    taken = shared.snapshot("u", caps=SnapshotCaps(max_name=256))
    assert list(taken) == ["short"]
    assert list(taken.skipped.values()) == ["name"]


# Commands that are after the session


def test_a_command_that_kills_the_server_ends_the_session_and_every_call(open_session: Open) -> None:
    session = open_session()
    results: list[ExecResult] = []
    waiting = [
        threading.Thread(target=lambda: results.append(bash(session, "echo up; sleep 100"))) for _ in range(4)
    ]
    for thread in waiting:
        thread.start()
    time.sleep(0.5)
    killer = bash(session, "echo before; kill -9 2; sleep 100")
    for thread in waiting:
        thread.join(20)
    assert [one.reason for one in (killer, *results)] == ["sandbox-died"] * 5
    assert killer.returncode == -1
    assert not session.is_alive()
    with pytest.raises(SessionEnded):
        session.read_file("/etc/passwd")
    with pytest.raises(SessionEnded):
        session.write_file("a", b"")
    with pytest.raises(SessionEnded):
        session.snapshot(".")
    # By its own hand, says the launcher; nobody ended it.
    assert (session.close().reason, session.close().code) == ("exited", 137)


def test_the_servers_own_streams_are_not_to_be_had(shared: Session) -> None:
    assert bash(shared, "ls /proc/2/fd; cat /proc/2/environ").stdout == b""


FORGERIES = {
    "not a frame": r"printf 'hello\n'",
    "an endless header": "head -c 5000 /dev/zero",
    "a call that is not open": r"""printf '{"id":999,"say":"done","size":0}\n'""",
    "a part of nothing": r"""printf '{"id":999,"say":"data","size":1}\nx'""",
    "more than may come": r"""for _ in $(seq 20); do printf '{"id":2,"say":"out","size":60000}\n'; """
    "printf %060000d 0; done",
    "another kind of answer": r"""printf '{"id":2,"say":"file","size":1}\nx'""",
    "a frame for each byte": r"""awk 'BEGIN { for (;;) printf "{\"id\":2,\"say\":\"out\","""
    r"""\"size\":1}\nx" }' | head -c 3000000""",
    "an end without a status": r"""printf '{"id":2,"say":"done","size":0}\n'""",
}


@pytest.mark.parametrize("forged", FORGERIES.values(), ids=FORGERIES)
def test_frames_written_by_a_command_end_the_session_and_nothing_else(
    open_session: Open, open_pipes: None, forged: str
) -> None:
    # The first process of the sandbox holds the same pipes.
    session = open_session()
    result = bash(session, f"{{ {forged}; }} > /proc/1/fd/1; sleep 100", output_bytes=1 << 20, timeout_s=10.0)
    assert result.reason == "sandbox-died"
    assert not session.is_alive()
    assert session.close().reason == "killed"


def test_an_answer_written_by_the_command_itself_is_its_last(open_session: Open, open_pipes: None) -> None:
    session = open_session()
    done = '{"id":2,"say":"done","code":0,"truncated":false,"reason":"exited","size":0}'
    result = bash(session, f"printf '{done}\\n' > /proc/1/fd/1; exit 3")
    assert (result.returncode, result.reason) == (0, "exited")  # a claim, as any status is
    # The server's own answer finds no question.
    until = time.monotonic() + 20
    while session.is_alive() and time.monotonic() < until:
        time.sleep(0.05)
    assert not session.is_alive()


@pytest.mark.parametrize(
    "stop",
    [
        "kill -STOP 2",
        "cat /proc/1/fd/0 > /dev/null",
        # Takes a little now and again, so that no single wait is long.
        "kill -STOP 2; while sleep 0.2; do dd bs=4096 count=1 if=/proc/1/fd/0 of=/dev/null; done",
    ],
)
def test_a_server_that_is_stopped_or_robbed_costs_the_session_its_time_and_no_more(
    open_session: Open, open_pipes: None, monkeypatch: pytest.MonkeyPatch, stop: str
) -> None:
    for name in ("_GRACE_S", "_PING_S", "_STALLED_S"):
        monkeypatch.setattr(sessions, name, 1.0)
    session = open_session()
    bash(session, f"(sleep 0.5; {stop}) &")
    time.sleep(1.0)
    began = time.monotonic()
    assert session.exec(["wc"], stdin=bytes(8 << 20), timeout_s=1.0).reason == "sandbox-died"
    assert not session.is_alive()
    session.close()
    assert time.monotonic() - began < 20


def test_a_frame_that_never_ends_costs_the_session_its_time_and_no_more(
    open_session: Open, open_pipes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "_GRACE_S", 1.0)
    session = open_session()
    half = r"""printf '{"id":2,"say":"out","size":60000}\nhalf' > /proc/1/fd/1"""
    result = bash(session, f"{half}; sleep 100", timeout_s=1.0)
    # What the server says next is taken for the rest of it; then there is no more.
    assert result.reason == "sandbox-died"
    assert not session.is_alive()


def test_noise_on_the_servers_own_errors_is_not_listened_to_for_ever(
    open_session: Open, open_pipes: None
) -> None:
    session = open_session()
    result = bash(session, "timeout 1 cat /dev/zero > /proc/1/fd/2; echo $?")
    assert result.stdout == b"124\n"
    assert session.is_alive()
    assert len(session._stderr) == 1 << 16


def test_the_time_of_commands_that_are_over_counts_and_the_limit_is_named(open_session: Open) -> None:
    session = open_session(cpu_s=1)
    # None of them alone comes near the limit.
    busy = "timeout 0.3 sh -c 'while :; do :; done'"
    reasons = []
    until = time.monotonic() + 60
    while session.is_alive() and time.monotonic() < until:
        reasons.append(bash(session, busy).reason)
    assert reasons[0] == "exited"
    assert session.close().reason == "cpu"


def test_a_sandbox_that_cannot_start_is_unavailable_with_its_own_words(client: LauncherClient) -> None:
    spec = SandboxSpec(name="small", profile="researcher", argv=("-",), uid_slot=next(_SLOTS), wall_s=0.001)
    with pytest.raises(SandboxUnavailable, match="before its first command"):
        Session.open(client, spec)
