"""Sandboxes as they really start, run and end."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from aar.outside.sandbox.argv import sandbox_python
from aar.outside.sandbox.client import Launcher, LauncherClient, Output
from aar.outside.sandbox.identity import slot_uid
from aar.outside.sandbox.spec import MalformedSpec, SandboxRefused, SandboxSpec, SandboxUnavailable

pytestmark = pytest.mark.sandbox

Build = Callable[..., SandboxSpec]
Run = Callable[..., Output]

SLEEPER = "import time; print('up', flush=True); time.sleep(30)"
# Leaves a process that has left session, parent and streams, and ignores SIGTERM.
DAEMON = """
import os, signal, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for fd in (0, 1, 2):
            os.close(fd)
        time.sleep(30)
    os._exit(0)
os.wait()
print("up", flush=True)
"""


def canary(name: str) -> str:
    """A word for command lines that no other run of these tests has."""
    return f"canary-{name}-{os.getpid()}"


def processes_with(word: str) -> list[int]:
    """Live processes of the host that have `word` on their command line, zombies excepted."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if word.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(int(pid))
        except OSError:
            continue
    return found


def gone(word: str, within_s: float = 3.0) -> bool:
    until = time.monotonic() + within_s
    while processes_with(word):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def lines(output: Output) -> list[str]:
    assert output.exit.reason == "exited", output
    assert output.exit.code == 0, output
    return output.stdout.decode().splitlines()


# What it is given


def test_a_program_runs_and_its_streams_and_code_come_back(run: Run) -> None:
    output = run("import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)")
    assert (output.stdout, output.stderr) == (b"out\n", b"err\n")
    assert (output.exit.reason, output.exit.code) == ("exited", 7)


def test_input_may_be_given_at_once_or_written_line_by_line(client: LauncherClient, python: Build) -> None:
    echo = "import sys\nfor line in sys.stdin: print(line.strip().upper(), flush=True)"
    with client.start(python(echo), stdin=b"one\n") as running:
        assert running.stdin is None
        assert running.collect(timeout_s=10).stdout == b"ONE\n"
    with client.start(python(echo)) as running:
        assert running.stdin is not None
        for word in (b"two", b"three"):
            running.stdin.write(word + b"\n")
            running.stdin.flush()
            assert running.stdout.readline() == word.upper() + b"\n"
        running.stdin.close()
        assert running.wait(10).code == 0


def test_files_arrive_whole_and_only_those_of_the_workspace_can_be_changed(run: Run) -> None:
    content = bytes(range(256)) * 4096
    code = """
import hashlib, os
print(hashlib.sha256(open('/instance/features.npy','rb').read()).hexdigest())
open('/workspace/notes/own.txt','a').write('more')
print(open('/workspace/notes/own.txt').read())
try: os.chmod('/instance/features.npy', 0o666)
except OSError as error: print(error.errno)
for path in ('/instance/features.npy', '/instance/new', '/submission'):
    try: open(path, 'r+b' if path.endswith('npy') else 'xb'); print('written', path)
    except OSError as error: print(error.errno)
"""
    output = run(code, files={"/instance/features.npy": content, "/workspace/notes/own.txt": b"mine "})
    # Closed by its mode, and by the file system, which lets the mode be as it is.
    refused = [str(code) for code in (errno.EROFS, errno.EACCES, errno.EROFS, errno.EROFS)]
    assert lines(output) == [hashlib.sha256(content).hexdigest(), "mine more", *refused]


def test_the_environment_is_ours_and_the_specs_and_nothing_else(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "canary-of-the-environment")
    code = "import json,os; print(json.dumps(dict(os.environ))); print(open('/proc/1/environ').read())"
    first, second = lines(run(code, env={"TASK": "t1"}))
    assert json.loads(first)["TASK"] == "t1"
    assert set(json.loads(first)) <= {
        *("PATH", "HOME", "TMPDIR", "LANG", "PWD", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONUNBUFFERED"),
        *("PYTHONDONTWRITEBYTECODE", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TASK"),
    }
    assert "canary" not in first + second
    assert second == "PATH=/usr/bin:/bin\0"


def test_no_descriptor_but_the_three_streams_gets_in(run: Run) -> None:
    # The fourth is the one that lists them.
    assert lines(run("import os; print(sorted(os.listdir('/proc/self/fd')))")) == ["['0', '1', '2', '3']"]


def test_the_view_holds_the_runtime_and_the_allowed_packages_only(run: Run) -> None:
    code = """
import os, json
places = ('/', '/usr', '/opt', '/usr/bin', '/etc', '/opt/aar/aar')
print(json.dumps([sorted(os.listdir(place)) for place in places]))
print(json.dumps(sorted(name.split('.')[0] for name in os.listdir('/opt/site'))))
"""
    first, second = lines(run(code))
    root, usr, opt, programs, etc, ours = json.loads(first)
    assert root == ["bin", "dev", "etc", "lib", "lib64", "opt", "proc", "tmp", "usr", "workspace"]
    assert usr == ["bin", "lib", "lib64"]
    assert opt == ["aar", "py", "site"]
    assert programs == ["prlimit"]
    assert etc == ["group", "hosts", "nsswitch.conf", "passwd"]
    assert set(ours) <= {"__init__.py", "formats", "verify", "lab", "inside"}
    assert set(json.loads(second)) <= {*("numpy", "scipy", "nacl", "_cffi_backend")}


def test_our_code_inside_imports_formats_but_not_outside(run: Run) -> None:
    code = """
import aar.formats
for name in ('aar.outside', 'aar.outside.sandbox', 'aar.cli', 'aar.witness', 'sklearn', 'joblib', 'pip'):
    try: __import__(name); print('imported', name)
    except ImportError: pass
"""
    assert lines(run(code)) == []


def test_the_bench_alone_may_load_the_digits(evaluator: LauncherClient, python: Build) -> None:
    spec = python(
        "import sklearn.datasets as d; print(len(d.load_digits().target))", profile="bench", memory_mib=1024
    )
    with evaluator.start(spec, stdin=b"") as running:
        assert lines(running.collect(timeout_s=20)) == ["1797"]


PROBLEMS_SEEN = """
import importlib.util, os
root = '/opt/aar/aar/lab'
print(sum(len(files) for folder in ('problems', 'data') for _, _, files in os.walk(f'{root}/{folder}')))
print(importlib.util.find_spec('aar.lab.practice') is not None)
try:
    import aar.lab.problems.claims_world as world
    print(len(world.pool()[1]))
except ImportError:
    print('no world')
"""


def test_a_researcher_finds_no_problem_no_weights_and_no_features(run: Run) -> None:
    assert lines(run(PROBLEMS_SEEN)) == ["0", "True", "no world"]


def test_an_official_run_finds_no_problem_and_the_bench_all(evaluator: LauncherClient, python: Build) -> None:
    seen = {}
    for profile in ("official-run", "bench"):
        with evaluator.start(python(PROBLEMS_SEEN, profile=profile, memory_mib=1024), stdin=b"") as running:
            seen[profile] = lines(running.collect(timeout_s=20))
    assert seen["official-run"] == ["0", "True", "no world"]
    assert int(seen["bench"][0]) > 10
    assert seen["bench"][1:] == ["True", "6048"]


def test_numpy_computes_inside(run: Run) -> None:
    assert lines(run("import numpy as n; print(n.linalg.inv(n.eye(64) * 2)[0, 0])")) == ["0.5"]


# Who may ask, and for what


def test_a_client_may_start_its_own_profiles_only(
    client: LauncherClient, evaluator: LauncherClient, python: Build
) -> None:
    with pytest.raises(SandboxRefused, match="official-run"):
        client.start(python("", profile="official-run"), stdin=b"")
    with pytest.raises(SandboxRefused, match="researcher"):
        evaluator.start(python("", profile="researcher"), stdin=b"")


def test_a_senseless_request_is_refused_and_the_launcher_lives_on(launcher: Launcher, run: Run) -> None:
    for packet in (b"{", b'{"do":"start"}', b'{"do":"dance"}', b'{"do":"start","spec":{"argv":1}}', b"[]"):
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with near:
            with far:
                socket.send_fds(launcher.sockets[0], [packet], [far.fileno()])
            near.settimeout(5)
            assert "refused" in json.loads(near.recv(4096))
    assert lines(run("print(1)")) == ["1"]


def test_a_spec_too_large_for_one_packet_is_refused_before_it_is_sent(
    client: LauncherClient, python: Build
) -> None:
    with pytest.raises(MalformedSpec, match="bytes"):
        client.start(python("", env={"A": "x" * 190_000}), stdin=b"")


def test_what_bubblewrap_cannot_set_up_is_a_failed_launch_with_its_reason(run: Run) -> None:
    output = run("", files={"/submission/a": b"", "/submission/a/b": b""})
    assert (output.exit.reason, output.exit.code) == ("launch-failed", -1)
    assert b"bwrap:" in output.stderr


# The gateway directory


@pytest.fixture
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("g") / "gw"
    folder.mkdir()
    folder.chmod(0o711)
    return folder


def test_the_gateway_answers_inside_and_sees_the_sandboxes_own_uid(
    client: LauncherClient, python: Build, gateway: Path
) -> None:
    code = """
import os, socket
s = socket.socket(socket.AF_UNIX); s.connect('/run/gw/gw.sock'); print(s.recv(9).decode())
for attempt in (lambda: os.unlink('/run/gw/gw.sock'), lambda: open('/run/gw/x', 'x')):
    try: attempt(); print('changed')
    except OSError as error: print(error.errno)
"""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(gateway / "gw.sock"))
        listener.listen()
        uid = slot_uid(5)
        if uid is not None:
            os.chown(gateway / "gw.sock", uid, uid)
        (gateway / "gw.sock").chmod(0o600)
        with client.start(python(code, gateway_dir=str(gateway), uid_slot=5), stdin=b"") as running:
            listener.settimeout(10)
            connection, _ = listener.accept()
            with connection:
                peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
                connection.send(b"hello")
            assert lines(running.collect(timeout_s=10)) == ["hello", "30", "30"]
    assert int.from_bytes(peer[4:8], sys.byteorder) == (os.getuid() if uid is None else uid)


def test_a_gateway_directory_with_anything_but_sockets_is_refused(
    client: LauncherClient, python: Build, gateway: Path
) -> None:
    (gateway / "labels.csv").touch()
    with pytest.raises(SandboxRefused, match="sockets only"):
        client.start(python("", gateway_dir=str(gateway)), stdin=b"")


def test_a_gateway_that_is_a_symbolic_link_is_refused(
    client: LauncherClient, python: Build, gateway: Path
) -> None:
    link = gateway.with_name("link")
    link.symlink_to(gateway)
    with pytest.raises(SandboxRefused):
        client.start(python("", gateway_dir=str(link)), stdin=b"")


@pytest.mark.skipif(os.geteuid() != 0, reason="as an ordinary user the sandbox has our uid")
def test_a_gateway_directory_that_the_sandbox_could_not_enter_is_refused(
    client: LauncherClient, python: Build, gateway: Path
) -> None:
    gateway.chmod(0o700)
    with pytest.raises(SandboxRefused, match="0711"):
        client.start(python("", gateway_dir=str(gateway)), stdin=b"")


# Limits


def test_a_sandbox_has_no_capability_two_filters_and_read_only_kernel_settings(run: Run) -> None:
    code = """
import os
for line in open('/proc/self/status'):
    if line.startswith(('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'NoNewPrivs', 'Seccomp_filters')):
        print(int(line.split()[1], 16))
print(os.statvfs('/proc/sys').f_flag & os.ST_RDONLY)
"""
    assert lines(run(code)) == ["0", "0", "0", "0", "0", "1", "2", "1"]


def test_the_wall_clock_ends_it(run: Run) -> None:
    output = run(
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(30)", wall_s=0.4
    )
    assert (output.exit.reason, output.exit.code) == ("wall", -1)
    assert 0.4 <= output.exit.wall_s < 2


def test_processor_time_is_counted_over_all_processes(run: Run) -> None:
    output = run("import os; os.fork(); os.fork()\nwhile True: pass", cpu_s=1)
    assert output.exit.reason == "cpu"
    # Four spinning processes on their own would be allowed four seconds.
    assert 0.9 < output.exit.cpu_s < 3


def test_one_process_is_refused_memory_above_the_limit(run: Run) -> None:
    code = """
try: bytearray(300 << 20)
except MemoryError: print('refused')
bytearray(60 << 20); print('granted')
"""
    assert lines(run(code, memory_mib=128)) == ["refused", "granted"]


def test_many_processes_within_their_own_limits_are_stopped_together(run: Run) -> None:
    code = """
import os, time
for _ in range(4):
    if os.fork() == 0:
        kept = bytearray(60 << 20)
        for at in range(0, len(kept), 4096): kept[at] = 1
        time.sleep(20)
time.sleep(20)
"""
    output = run(code, memory_mib=100)
    assert output.exit.reason == "memory"
    assert output.exit.wall_s < 10


def test_a_fork_bomb_stops_at_the_process_limit(run: Run) -> None:
    code = """
import os, time
made = 0
try:
    while made < 500:
        if os.fork() == 0: time.sleep(20); os._exit(0)
        made += 1
except BlockingIOError: print(made)
"""
    (made,) = lines(run(code, processes=24))
    assert 15 <= int(made) <= 24


def test_two_sandboxes_do_not_share_a_process_limit(client: LauncherClient, python: Build) -> None:
    hold = """
import os, sys, time
for made in range(12):
    if os.fork() == 0: time.sleep(20); os._exit(0)
print('made', flush=True); time.sleep(20)
"""
    with (
        client.start(python(hold, processes=16), stdin=b"") as one,
        client.start(python(hold, processes=16), stdin=b"") as two,
    ):
        assert one.stdout.readline() == two.stdout.readline() == b"made\n"


@pytest.mark.parametrize("folder", ["/workspace", "/tmp", "/dev/shm"])
def test_a_full_file_system_says_so(run: Run, folder: str) -> None:
    code = f"""
try:
    with open('{folder}/fill', 'wb') as out:
        for _ in range(200): out.write(bytes(1 << 20))
    print('never full')
except OSError as error: print(error.errno)
"""
    assert lines(run(code, memory_mib=64)) == ["28"]


def test_a_flood_of_output_is_cut_and_ended(client: LauncherClient, python: Build) -> None:
    with client.start(python("while True: print('x' * 1000)"), stdin=b"") as running:
        output = running.collect(stdout_bytes=50_000, timeout_s=10)
    assert output.truncated
    assert len(output.stdout) == 50_000
    assert output.exit.reason == "output"


def test_a_stream_exactly_as_long_as_its_cap_is_not_a_flood(client: LauncherClient, python: Build) -> None:
    with client.start(python("print('x' * 99)"), stdin=b"") as running:
        output = running.collect(stdout_bytes=100, timeout_s=10)
    assert (output.truncated, len(output.stdout), output.exit.reason) == (False, 100, "exited")


def test_a_second_instruction_set_is_killed(run: Run) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("x32 is of x86_64")
    output = run("import ctypes; print(ctypes.CDLL(None).syscall(ctypes.c_long(0x40000000 + 39)))")
    assert output.exit.code == 128 + signal.SIGSYS


# Ends


def test_kill_ends_it_and_says_so(client: LauncherClient, python: Build) -> None:
    with client.start(python(SLEEPER), stdin=b"") as running:
        assert running.stdout.readline() == b"up\n"
        for timeout_s in (0.0, 0.05):
            with pytest.raises(TimeoutError):
                running.wait(timeout_s)
        running.kill()
        assert running.wait(5).reason == "killed"
        assert running.wait(5).reason == "killed"


def test_a_kill_right_after_the_start_leaves_nothing(client: LauncherClient) -> None:
    spec = SandboxSpec(
        name="quick", profile="probe", argv=(*sandbox_python(), "-c", SLEEPER, canary("early"))
    )
    for delay_s in (0.0, 0.001, 0.002, 0.004, 0.008, 0.016):
        with client.start(spec, stdin=b"") as running:
            time.sleep(delay_s)
            running.kill()
            assert running.wait(5).reason == "killed"
    assert gone(canary("early"))


def test_what_bubblewrap_left_before_naming_it_is_ended(backend: None) -> None:
    # Too short a window to hit with a real one: an orphan falls to the launcher, which knows no such run.
    code = """
import ctypes, os, time
from aar.outside.sandbox.bubblewrap import Bubblewrap
from aar.outside.sandbox.launcher import _Launcher
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
if os.fork() == 0:
    if os.fork() == 0:
        time.sleep(30)
    os._exit(0)
os.wait()
_Launcher(Bubblewrap('/none', True, {}, (), None))._sweep()
try: os.wait(); print('reaped late')
except ChildProcessError: print('none left')
"""
    told = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=10,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert told.stdout == "none left\n", told.stderr


def test_closing_the_handle_kills(client: LauncherClient) -> None:
    spec = SandboxSpec(
        name="closed", profile="probe", argv=(*sandbox_python(), "-c", SLEEPER, canary("closed"))
    )
    with client.start(spec, stdin=b"") as running:
        assert running.stdout.readline() == b"up\n"
        assert processes_with(canary("closed"))
    assert gone(canary("closed"))


def test_a_daemon_dies_with_the_program_that_left_it(client: LauncherClient) -> None:
    spec = SandboxSpec(
        name="daemon", profile="probe", argv=(*sandbox_python(), "-c", DAEMON, canary("daemon"))
    )
    with client.start(spec, stdin=b"") as running:
        output = running.collect(timeout_s=10)
    assert lines(output) == ["up"]
    assert gone(canary("daemon"), within_s=0.5)


def test_a_killed_launcher_leaves_nothing(backend: None) -> None:
    with Launcher.spawn() as launcher:
        client = LauncherClient(launcher.sockets[0])
        hold = DAEMON + "time.sleep(30)"
        spec = SandboxSpec(name="left", profile="probe", argv=(*sandbox_python(), "-c", hold, canary("left")))
        with client.start(spec, stdin=b"") as running:
            assert running.stdout.readline() == b"up\n"
            assert len(processes_with(canary("left"))) >= 3
            launcher.process.send_signal(signal.SIGKILL)
            assert running.wait(5).reason == "killed"
            assert gone(canary("left"))
        with pytest.raises(SandboxUnavailable):
            client.start(spec, stdin=b"")


def test_a_launcher_ends_with_its_last_client_and_takes_its_sandboxes_along(backend: None) -> None:
    launcher = Launcher.spawn({"probe"}, {"bench"})
    spec = SandboxSpec(name="last", profile="probe", argv=(*sandbox_python(), "-c", SLEEPER, canary("last")))
    running = LauncherClient(launcher.sockets[0]).start(spec, stdin=b"")
    assert running.stdout.readline() == b"up\n"
    launcher.sockets[1].close()
    time.sleep(0.05)
    assert launcher.process.poll() is None
    launcher.close()
    assert launcher.process.poll() == 0
    assert running.wait(5).reason == "killed"
    running.close()
    assert gone(canary("last"))


def test_a_client_process_that_dies_takes_only_its_own_sandboxes_along(
    launcher: Launcher, client: LauncherClient
) -> None:
    spec = SandboxSpec(name="own", profile="probe", argv=(*sandbox_python(), "-c", SLEEPER, canary("own")))
    child = """
import socket, sys, time
from aar.outside.sandbox.argv import sandbox_python
from aar.outside.sandbox.client import LauncherClient
from aar.outside.sandbox.spec import SandboxSpec
code = "import time; print('up', flush=True); time.sleep(30)"
spec = SandboxSpec(name="x", profile="bench", argv=(*sandbox_python(), "-c", code, sys.argv[2]))
running = LauncherClient(socket.socket(fileno=int(sys.argv[1]))).start(spec, stdin=b"")
sys.stdout.write(running.stdout.readline().decode()); sys.stdout.flush()
time.sleep(30)
"""
    end = launcher.sockets[1].fileno()
    with client.start(spec, stdin=b"") as running:
        assert running.stdout.readline() == b"up\n"
        process = subprocess.Popen(
            [sys.executable, "-c", child, str(end), canary("child")],
            pass_fds=[end],
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        with process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"
            assert processes_with(canary("child"))
            process.kill()
        assert gone(canary("child"))
        assert processes_with(canary("own"))


def test_a_sandbox_outlives_the_thread_that_asked_for_it(client: LauncherClient, python: Build) -> None:
    held = []
    code = "import time; print('up', flush=True); time.sleep(0.3); print('done')"
    thread = threading.Thread(target=lambda: held.append(client.start(python(code), stdin=b"")))
    thread.start()
    thread.join()
    with held[0] as running:
        assert lines(running.collect(timeout_s=10)) == ["up", "done"]


def test_output_that_nobody_wants_does_not_stop_a_sandbox(client: LauncherClient, python: Build) -> None:
    with client.start(python("print('x' * 200_000)"), stdin=b"", discard_output=True) as running:
        output = running.collect(timeout_s=10)
    assert (output.stdout, output.exit.reason, output.exit.code) == (b"", "exited", 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="as an ordinary user mounts show where our files are")
def test_a_sandbox_does_not_learn_where_its_files_lie_on_the_host(run: Run) -> None:
    mounts = lines(run("print(open('/proc/self/mountinfo').read(), end='')"))
    python, checkout = Path(os.__file__).resolve(), Path(__file__).resolve().parents[2]
    # Two names in a row: one alone, such as that of a checkout in ~/aar, is also a name inside.
    ours = {"/".join(python.parts[1:3]), "/".join(checkout.parts[-2:]).lstrip("/")} - {"usr/lib"}
    assert [line for line in mounts for words in ours if f"/{words}/" in line] == []


def _held_by(launcher: Launcher) -> dict[str, object]:
    """What sandboxes may leave behind: in the launcher, on the host, and what their uid may have written."""
    pid = launcher.process.pid
    uid = slot_uid(0)
    owned = [
        str(path)
        for folder in ("/tmp", "/dev/shm", "/var/tmp")
        for path in (Path(folder).iterdir() if uid is not None else ())
        if path.lstat().st_uid == uid
    ]
    return {
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "mounts": Path(f"/proc/{pid}/mountinfo").read_text().count("\n"),
        "mounts of the host": Path("/proc/1/mountinfo").read_text().count("\n") if uid is not None else 0,
        "children": Path(f"/proc/{pid}/task/{pid}/children").read_text(),
        "groups": sorted(str(path) for path in Path("/sys/fs/cgroup").glob("*/*aar*")),
        "files": owned,
        "processes": processes_with(canary("cycle")),
    }


@pytest.mark.parametrize("cycles", [20, pytest.param(500, marks=pytest.mark.deep)])
def test_cycles_of_start_and_end_leave_nothing(
    launcher: Launcher, client: LauncherClient, cycles: int
) -> None:
    argv = (*sandbox_python(), "-c", DAEMON, canary("cycle"))

    def cycle(number: int) -> None:
        """One that ends by itself and leaves a daemon, one that is killed, one that cannot even start."""
        bad = {"/submission/a": b"", "/submission/a/b": b""}
        spec = SandboxSpec(name="cycle", profile="probe", argv=argv, files=bad if number % 3 == 2 else {})
        with client.start(spec, stdin=b"", discard_output=True) as running:
            if number % 3 == 1:
                running.kill()
            assert running.wait(20).reason == ("exited", "killed", "launch-failed")[number % 3]

    for number in range(3):
        cycle(number)
    time.sleep(0.2)
    before = _held_by(launcher)
    for number in range(cycles):
        cycle(number)
    until = time.monotonic() + 3
    # The launcher tidies up right after its last answer.
    while (now := _held_by(launcher)) != before and time.monotonic() < until:
        time.sleep(0.02)
    assert now == before
    assert before["children"] == ""
    assert before["processes"] == []


# Several at once


def test_two_threads_share_a_client_and_get_their_own_answers(client: LauncherClient, python: Build) -> None:
    wrong: list[tuple[int, bytes]] = []

    def ask(first: int) -> None:
        for number in range(first, first + 6):
            with client.start(python(f"print({number} * 7)", uid_slot=number), stdin=b"") as running:
                output = running.collect(timeout_s=20)
            if output.stdout != f"{number * 7}\n".encode():
                wrong.append((number, output.stdout + output.stderr))

    threads = [threading.Thread(target=ask, args=(first,)) for first in (100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_official_runs_do_not_wait_for_each_other(evaluator: LauncherClient, python: Build) -> None:
    began = time.monotonic()
    slow = [
        evaluator.start(
            python("import time; time.sleep(1)", profile="official-run", uid_slot=slot), stdin=b""
        )
        for slot in range(4)
    ]
    with evaluator.start(python("print('quick')", profile="official-run", uid_slot=9), stdin=b"") as quick:
        assert lines(quick.collect(timeout_s=10)) == ["quick"]
        assert time.monotonic() - began < 1.0
    for running in slow:
        with running:
            assert running.wait(10).code == 0
    assert time.monotonic() - began < 3.0


@pytest.mark.skipif(os.geteuid() != 0, reason="as an ordinary user every sandbox has our uid")
def test_each_slot_has_a_host_uid_of_its_own_and_none_is_root(client: LauncherClient) -> None:
    seen = {}
    for slot in (0, 1):
        word = canary(f"slot-{slot}")
        spec = SandboxSpec(
            name="slot", profile="probe", uid_slot=slot, argv=(*sandbox_python(), "-c", SLEEPER, word)
        )
        with client.start(spec, stdin=b"") as running:
            assert running.stdout.readline() == b"up\n"
            seen[slot] = {os.stat(f"/proc/{pid}").st_uid for pid in processes_with(word)}
    assert seen == {0: {slot_uid(0)}, 1: {slot_uid(1)}}
    assert 0 not in seen[0] | seen[1]


def test_processor_time_is_what_was_used_children_included(client: LauncherClient, python: Build) -> None:
    burn = """
import os, time
def burn(seconds):
    while time.process_time() < seconds: pass
for _ in range(2):
    if os.fork() == 0: burn(time.process_time() + 0.25); os._exit(0)
os.wait(); os.wait(); burn(0.25 + time.process_time())
"""
    before = client.usage()
    with client.start(python(burn), stdin=b"") as running:
        ended = running.collect(timeout_s=20).exit
    after = client.usage()
    assert 0.7 < ended.cpu_s < 1.6
    assert ended.cpu_s <= ended.wall_s * (os.cpu_count() or 1) + 0.2
    assert after["sandboxes_cpu_s"] - before["sandboxes_cpu_s"] == pytest.approx(ended.cpu_s, abs=0.3)
    assert 0 < after["launcher_cpu_s"] < 30


def test_time_of_a_process_that_was_killed_with_its_sandbox_counts(
    client: LauncherClient, python: Build
) -> None:
    # The parent leaves when its child has used enough, however busy the machine is.
    code = (
        "import os, time\nchild = os.fork()\nwhile child == 0: pass\n"
        "while int(open(f'/proc/{child}/stat').read().rsplit(')', 1)[1].split()[11]) < 100: time.sleep(0.01)"
    )
    with client.start(python(code), stdin=b"") as running:
        ended = running.collect(timeout_s=20).exit
    assert (ended.reason, ended.code) == ("exited", 0)
    # It is looked at a few times a second: what was used since the last look is lost.
    assert 0.4 < ended.cpu_s < 2


def test_the_time_of_one_that_waits_begins_when_it_is_told_so(client: LauncherClient, python: Build) -> None:
    burn = "import sys, time\nwhile time.process_time() < 1.1: pass\nprint('up', flush=True)\n"
    spec = python(burn + "sys.stdin.read()", cpu_s=1, wall_s=0.4, waits=True)
    with client.start(spec) as running:
        # More of either than it may use: nothing of that counts.
        assert running.stdout.readline() == b"up\n"
        running.begin()
        ended = running.wait(10)
    assert ended.reason == "wall"
    assert 0.4 <= ended.wall_s < 2
    assert ended.cpu_s < 0.5
    with client.start(python("print('up', flush=True)\nwhile True: pass", cpu_s=1, waits=True)) as running:
        assert running.stdout.readline() == b"up\n"
        running.begin()
        assert running.wait(15).reason == "cpu"


def test_one_that_waits_is_given_empty_directories_and_no_files_in_them(
    client: LauncherClient, python: Build
) -> None:
    listing = "import os; print([(one, os.listdir(one)) for one in ('/submission', '/instance')])"
    with client.start(python(listing, waits=True), stdin=b"") as running:
        assert lines(running.collect(timeout_s=10)) == ["[('/submission', []), ('/instance', [])]"]
    with pytest.raises(MalformedSpec, match="destination"):
        python(listing, waits=True, files={"/submission/method.py": b""})


def test_the_kernels_own_processor_limit_is_called_by_its_name(run: Run) -> None:
    ended = run("import os, signal; os.kill(os.getpid(), signal.SIGXCPU)")
    assert (ended.exit.reason, ended.exit.code) == ("cpu", -1)
