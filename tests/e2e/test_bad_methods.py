"""Methods that misbehave, in real sandboxes: each ends as a typed outcome, and the next run is as ever."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from aar.formats.canonical import format_canonical
from aar.formats.kinds import FAILURES
from aar.outside.evaluation import official_sandboxes
from aar.outside.evaluation.bench import Bench
from aar.outside.evaluation.official_run import Problem, RunResult, pool_of, run_officially
from aar.outside.evaluation.official_sandboxes import OfficialSandboxes
from aar.outside.sandbox.client import Launcher, LauncherClient

pytestmark = [pytest.mark.slow, pytest.mark.sandbox]

SECRET = bytes(range(32))
WALL_S, CPU_S = 8.0, 4
HEAD = "import numpy as np, os, sys, time\n\ndef predict(instance, rng):\n    m = len(instance.test_x)\n"
BAD = {
    "raises": ("    raise RuntimeError(repr(instance.test_x))\n", {"exception"}),
    "is no Python": ("    return (\n", {"exception"}),
    "ends the process": ("    os._exit(0)\n", {"bad-output"}),
    "ends with status 3 of its own": ("    os._exit(3)\n", {"bad-output"}),
    "kills itself": ("    os.kill(os.getpid(), 9)\n", {"exception", "killed"}),
    "never ends": ("    while True: pass\n", {"cpu", "wall"}),
    "sleeps for ever": ("    time.sleep(10**6)\n", {"wall"}),
    "forks without end": (
        "    while True:\n        try: os.fork()\n        except OSError: time.sleep(0.01)\n",
        {"cpu", "wall", "exception", "bad-output", "killed", "memory"},
    ),
    "answers with what is no number": ("    return np.full(m, np.nan)\n", {"bad-output"}),
    "answers with another shape": ("    return np.zeros((m, 2))\n", {"bad-output"}),
    "answers with texts": ("    return ['0.9'] * m\n", {"bad-output"}),
    "answers with a billion numbers": (
        "    return np.zeros(10**9, dtype=np.int8)\n",
        {"bad-output", "memory", "exception"},
    ),
    "answers with more memory than there is": (
        "    return np.ones(10**10)\n",
        {"bad-output", "memory", "exception", "killed"},
    ),
    "prints an endless answer": (
        (
            "    while True:\n        for one in range(3, 20):\n"
            "            try: os.write(one, b'1' * 65536)\n            except OSError: pass\n"
        ),
        {"cpu", "wall", "bad-output"},
    ),
    "writes elsewhere": (
        (
            "    for path in ('/instance/x', '/submission/x', '/etc/x', '/usr/x', '/run/gw/x'):\n"
            "        try:\n            open(path, 'w').write('x')\n            return ['written'] * m\n"
            "        except OSError: pass\n    return np.zeros(m)\n"
        ),
        {""},
    ),
}


class Runs:
    """A launcher and a bench, which one run after another uses."""

    def __init__(self) -> None:
        self.launcher = Launcher.spawn({"official-run", "bench"})
        self.client = LauncherClient(self.launcher.sockets[0])
        self.bench = Bench(self.client)
        self.sandboxes = OfficialSandboxes(self.client)
        pool = pool_of(self.bench.describe("digits"))
        self.problem = Problem(name="digits", pool=pool, seeds=1, replicates=2)

    def run(self, body: str) -> RunResult:
        snapshot = format_canonical({"files": {"method.py": HEAD + body}})
        return run_officially(
            secret=SECRET,
            problem=self.problem,
            label="explore",
            digest=hashlib.sha256(snapshot).hexdigest(),
            snapshot=snapshot,
            bench=self.bench,
            sandboxes=self.sandboxes,
        )


@pytest.fixture(scope="module")
def runs() -> Iterator[Runs]:
    made = Runs()
    yield made
    made.bench.close()
    made.launcher.close()


@pytest.mark.parametrize("name", BAD)
def test_a_bad_method_ends_as_a_typed_outcome(runs: Runs, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(official_sandboxes, "WALL_S", WALL_S)
    monkeypatch.setattr(official_sandboxes, "CPU_S", CPU_S)
    body, wanted = BAD[name]
    result = runs.run(body)
    assert result.reason in wanted
    assert result.reason in FAILURES
    assert len(result.seeds) == 1
    assert (result.public is None) == (result.sealed is None) == bool(result.reason)


def test_after_all_of_them_an_honest_method_is_scored(runs: Runs) -> None:
    result = runs.run("    return instance.test_x[:, 0] > 0\n")
    assert result.reason == ""
    assert result.public is not None
    assert result.sealed is not None
    for payload, tested in ((result.public, 497), (result.sealed, 400)):
        assert [one.tested.bit_count() for one in payload.splits] == [tested] * 2
        assert not payload.is_fresh
        # Teacher and plain student are judged on the same items as the method.
        assert all(0 < one.vanilla.bit_count() < one.ceiling.bit_count() for one in payload.splits)


def test_a_handed_over_snapshot_is_the_one_that_was_handed_in(runs: Runs) -> None:
    with pytest.raises(ValueError, match="is not"):
        run_officially(
            secret=SECRET,
            problem=runs.problem,
            label="explore",
            digest="0" * 64,
            snapshot=b"{}",
            bench=runs.bench,
            sandboxes=runs.sandboxes,
        )
