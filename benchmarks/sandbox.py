"""What a sandbox costs beside none at all, here: start, memory, speed, gateway, official runs, kill, doctor.

    PYTHONPATH=src python3 benchmarks/sandbox.py [--rounds N] [--only NAME...]

One JSON object a line, with the target where there is one. Everything that is compared is measured in turn,
one round without and one within, so that both see the same load; read the ratios and differences, and the
absolute times only on a machine that does nothing else. Times are in ms, memory in KiB.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy

from aar.outside.evaluation.bench import Bench
from aar.outside.evaluation.official_run import Problem, deal_of, dealt_as, pool_of, predicted
from aar.outside.evaluation.official_sandboxes import OfficialSandboxes
from aar.outside.sandbox import processes
from aar.outside.sandbox.argv import sandbox_python
from aar.outside.sandbox.client import Launcher, LauncherClient
from aar.outside.sandbox.doctor import doctor
from aar.outside.sandbox.spec import SandboxSpec

# The smallest program that is in a sandbox: it says its version and ends.
SMALL = ("/usr/bin/prlimit", "--version")
SITE = str(Path(numpy.__file__).parents[1])
THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
WITHOUT = (sys.executable, "-S", "-P", "-B")

MATMUL = """
import sys, time, numpy
a = numpy.random.default_rng(1).random((600, 600))
for _ in sys.stdin:
    began = time.perf_counter()
    a @ a
    print((time.perf_counter() - began) * 1000, flush=True)
"""
IMPORT = """
import time
began = time.perf_counter()
import sklearn.linear_model
print((time.perf_counter() - began) * 1000)
"""
# A researcher of a real study: it asks its gateway over one connection, and says how long each answer took.
ASKING = """
import http.client, socket, sys, time
from aar.inside.gateway_client import GatewayClient

class Gateway(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect('/run/gw/gw.sock')

gateway, times = Gateway('gateway'), []
# Fewer than may come at once: beyond that the gateway answers a hundred a second, whoever asks.
for _ in range(150):
    began = time.perf_counter()
    gateway.request('GET', '/v1/checkpoint')
    answer = gateway.getresponse()
    assert len(answer.read()) > 100 and answer.status == 200
    times.append((time.perf_counter() - began) * 1000)
times.sort()
print('TOOK', times[0], times[75], times[135], file=sys.stderr)
client = GatewayClient()
client.study()
while (task := client.lease()) is not None:
    client.plan(task['task'], [{'name': 's1', 'what': 'nothing'}])
    client.done(task['task'], 'done', 'asked')
"""
ASKING_STUDY = """
[study]
name = "asking"
problem = "digits"
researchers = 1
minutes = 2
seeds = 1
replicates = 1
draws = 20

[[researcher]]
program = "asking.py"

[[task]]
task = "ask"
title = "Ask"
workflow = "free"
direction = "baseline"
submissions = 1
"""
# A method that says when its first line ran: the bits of a clock that sandboxes share, as its answers.
TOLD_BITS = 62
TELLING = f"""
import time
T = time.perf_counter_ns()
def predict(instance, rng):
    return [T >> bit & 1 if bit < {TOLD_BITS} else 0 for bit in range(len(instance.test_x))]
"""
CROWD = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(200):
    if os.fork() == 0:
        time.sleep(60)
print('up', flush=True)
time.sleep(60)
"""


def say(name: str, *, target: str = "", **fields: Any) -> None:
    rounded = {key: round(value, 4) if isinstance(value, float) else value for key, value in fields.items()}
    print(json.dumps({"measured": name, **rounded, **({"target": target} if target else {})}), flush=True)


def probe_spec(*argv: str, **changes: Any) -> SandboxSpec:
    limits = {"memory_mib": 1024, "cpu_s": 600, "wall_s": 600.0}
    return SandboxSpec(**{"name": "bench", "profile": "probe", "argv": argv, **limits, **changes})


def timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return (time.perf_counter() - began) * 1000


def start(client: LauncherClient, rounds: int) -> None:
    """Start of a small program and its end, by us and by the launcher."""
    bare, within = [], []

    def run_within() -> None:
        with client.start(probe_spec(*SMALL), stdin=b"", discard_output=True) as running:
            assert running.wait(20).code == 0

    for _ in range(rounds):
        bare.append(timed(lambda: subprocess.run(SMALL, stdout=subprocess.DEVNULL, check=True)))
        within.append(timed(run_within))
    medians = statistics.median(bare), statistics.median(within)
    say("start", target="25 ms more", without=medians[0], within=medians[1], more=medians[1] - medians[0],
        least_more=min(within) - min(bare), within_p90=sorted(within)[rounds * 9 // 10])  # fmt: skip


def memory(client: LauncherClient, launcher: Launcher) -> None:
    """What bubblewrap itself holds while a sandbox runs: proportional set size of all but the program."""
    with client.start(probe_spec(*sandbox_python(), "-c", "print(1, flush=True); input()")) as running:
        running.stdout.readline()
        (bwrap,) = processes.children_of(launcher.process.pid)
        tree, waiting = [], [bwrap]
        while waiting:
            tree.append(waiting.pop())
            waiting += processes.children_of(tree[-1])
        kib = sum(_pss_kib(pid) for pid in tree[:-1])
    say("overhead", target="1024 KiB", kib=kib, processes=len(tree) - 1)


def _pss_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


@contextlib.contextmanager
def both(
    client: LauncherClient,
    code: str,
) -> Iterator[tuple[Callable[[], float], Callable[[], float]]]:
    """One process without and one within; each answers a line with a number."""
    bare = subprocess.Popen(
        [*WITHOUT, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": SITE, **THREADS},
        # As one within has: on some kernels a session is what gets a share of the processors.
        start_new_session=True,
    )
    spec = probe_spec(*sandbox_python(), "-c", code)
    with bare, client.start(spec) as running:
        assert bare.stdin is not None
        assert bare.stdout is not None
        assert running.stdin is not None
        pairs = ((bare.stdin, bare.stdout), (running.stdin, running.stdout))

        def ask(place: int) -> float:
            pairs[place][0].write(b"\n")
            pairs[place][0].flush()
            return float(pairs[place][1].readline())

        yield lambda: ask(0), lambda: ask(1)
        bare.kill()


def compared(
    name: str, target: str, rounds: int, sides: tuple[Callable[[], float], Callable[[], float]]
) -> None:
    without, within = [], []
    for _ in range(rounds):
        without.append(sides[0]())
        within.append(sides[1]())
    medians = statistics.median(without), statistics.median(within)
    say(name, target=target, without=medians[0], within=medians[1], ratio=medians[1] / medians[0])


def matmul(client: LauncherClient, rounds: int) -> None:
    with both(client, MATMUL) as sides:
        compared("matmul", "ratio 0.97 to 1.03", rounds * 3, sides)


def imports(client: LauncherClient, rounds: int) -> None:
    """scikit-learn, which only the bench may have."""

    def without() -> float:
        words = [*WITHOUT, "-c", IMPORT]
        env = {"PYTHONPATH": SITE, **THREADS}
        return float(subprocess.check_output(words, env=env, start_new_session=True))

    def within() -> float:
        spec = probe_spec(*sandbox_python(), "-c", IMPORT, profile="bench")
        with client.start(spec, stdin=b"") as running:
            return float(running.collect(timeout_s=120).stdout)

    without(), within()
    compared("import sklearn", "ratio at most 1.1", max(rounds // 4, 3), (without, within))


def gateway(folder: Path) -> None:
    """One verb of the gateway's own process and back, over one connection, from a researcher of a study."""
    (folder / "asking.py").write_text(ASKING)
    (folder / "asking.toml").write_text(ASKING_STUDY)
    source = str(Path(__file__).resolve().parents[1] / "src")
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": source, "HOME": str(folder), **THREADS}
    words = ["run", str(folder / "asking.toml"), "--dir", str(folder / "study"), "--json"]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "aar.cli.main", *words], env=environment, capture_output=True, text=True
    )
    told = "".join(path.read_text() for path in (folder / "study" / "log").glob("researcher-1.*"))
    took = [line.split()[1:] for line in told.splitlines() if line.startswith("TOOK")]
    if not took:
        say("gateway round trip", left_out=f"{done.stderr[-300:]} {told[-300:]}")
        return
    least, median, most = map(float, took[0])
    say("gateway round trip", target="p50 at most 1 ms", within=median, least=least, p90=most)


def official(client: LauncherClient, rounds: int) -> None:
    """From a submission in hand to its first line: a sandbox that waits for it, and one that is started."""
    bench = Bench(client)
    problem = Problem(name="digits", pool=pool_of(bench.describe("digits")), seeds=2, replicates=2)
    runs, key = dealt_as(bytes(32), problem, "explore", "0" * 64)
    prepared = bench.prepare("digits", runs, deal_of(bytes(32), problem.pool).sealed, key)
    bench.close()
    snapshot = json.dumps({"files": {"method.py": TELLING}}).encode()
    cold, warm = OfficialSandboxes(client), OfficialSandboxes(client, ahead=1)

    def first_line(sandboxes: OfficialSandboxes) -> float:
        began = time.perf_counter_ns()
        lines, reason = predicted(snapshot=snapshot, prepared=prepared, sandboxes=sandboxes)
        assert lines is not None, reason
        told = sum(int(mark) << bit for bit, mark in enumerate(lines[0][:TOLD_BITS]))
        return (told - began) / 1e6

    without, within = [], []
    for _ in range(max(rounds // 2, 3)):
        without.append(first_line(cold))
        warm.fill()
        time.sleep(1.0)  # as between two submissions
        within.append(first_line(warm))
    warm.fill()
    time.sleep(1.0)
    (waiting,) = (pid for pid in processes_below(os.getpid()) if _runs_official(pid))
    kib = _pss_kib(waiting)
    warm.close()
    medians = statistics.median(without), statistics.median(within)
    say("official run's first line", target="p50 at most 5 ms from a warm one", cold=medians[0],
        warm=medians[1], least=min(within), one_that_waits_kib=kib)  # fmt: skip


def processes_below(root: int) -> list[int]:
    found, waiting = [], [root]
    while waiting:
        found.append(waiting.pop())
        waiting += processes.children_of(found[-1])
    return found


def _runs_official(pid: int) -> bool:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return words[0].startswith(b"/opt/py/") and b"aar.inside.official_run" in words


def crowd(client: LauncherClient, rounds: int) -> None:
    """32 at once until all have ended; 200 processes that ignore SIGTERM until all are gone."""

    def all_at_once() -> None:
        running = [
            client.start(probe_spec(*SMALL, uid_slot=slot), stdin=b"", discard_output=True)
            for slot in range(32)
        ]
        for one in running:
            with one:
                assert one.wait(30).code == 0

    def bare() -> None:
        started = [subprocess.Popen(SMALL, stdout=subprocess.DEVNULL) for _ in range(32)]
        for one in started:
            assert one.wait() == 0

    without, within, kills = [], [], []
    for _ in range(max(rounds // 8, 3)):
        without.append(timed(bare))
        within.append(timed(all_at_once))
        with client.start(probe_spec(*sandbox_python(), "-c", CROWD, processes=256), stdin=b"") as running:
            assert running.stdout.readline() == b"up\n"

            def kill(one: Any = running) -> None:
                one.kill()
                assert one.wait(20).reason == "killed"

            kills.append(timed(kill))
    medians = statistics.median(without), statistics.median(within)
    say("32 starts", target="1000 ms", without=medians[0], within=medians[1], least=min(within))
    say("kill of 200", target="100 ms", within=statistics.median(kills), least=min(kills))


def examination() -> None:
    before = os.times()
    began = time.perf_counter()
    report = doctor()
    ms = (time.perf_counter() - began) * 1000
    after = os.times()
    cpu_ms = 1000 * sum(b - a for a, b in zip(before[:4], after[:4], strict=True))
    say("doctor", target="1000 ms", ms=ms, cpu_ms=cpu_ms, probes=len(report.probes), verdict=report.verdict)


def beside() -> None:
    """Other walls, where they are installed and run: the same small program."""
    tools: Mapping[str, tuple[str, ...]] = {
        "podman": ("podman", "run", "--rm", "--network=none", "--rootfs", "/", *SMALL),
        "runsc": ("runsc", "--network=none", "do", *SMALL),
    }
    for name, words in tools.items():
        if shutil.which(name) is None:
            say(name, left_out="not installed")
            continue
        done = subprocess.run(words, capture_output=True, check=False)
        if done.returncode != 0:
            say(name, left_out=done.stderr.decode(errors="replace")[-200:])
            continue
        times = [timed(lambda: subprocess.run(words, capture_output=True, check=False)) for _ in range(5)]  # noqa: B023
        say(name, within=statistics.median(times))


def main() -> None:
    parser = argparse.ArgumentParser(description="What a sandbox costs beside none at all.")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--only", nargs="+", default=[])
    chosen = parser.parse_args()
    say(
        "machine",
        cores=os.cpu_count(),
        kernel=os.uname().release,
        load=os.getloadavg()[0],
        rounds=chosen.rounds,
    )
    with tempfile.TemporaryDirectory(prefix="aar-") as name, Launcher.spawn() as launcher:
        client = LauncherClient(launcher.sockets[0])
        steps: Mapping[str, Callable[[], None]] = {
            "start": lambda: start(client, chosen.rounds),
            "memory": lambda: memory(client, launcher),
            "matmul": lambda: matmul(client, chosen.rounds),
            "import": lambda: imports(client, chosen.rounds),
            "gateway": lambda: gateway(Path(name)),
            "official": lambda: official(client, chosen.rounds),
            "crowd": lambda: crowd(client, chosen.rounds),
            "doctor": examination,
            "beside": beside,
        }
        for step, measure in steps.items():
            if not chosen.only or step in chosen.only:
                measure()


if __name__ == "__main__":
    main()
