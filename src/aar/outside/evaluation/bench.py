"""The evaluator's bench: weak teachers, ceilings and true labels, computed in a sandbox of its own.

The numerical libraries never enter the evaluator's process: it asks this sandbox over a pipe, one JSON
line each way. No method of a researcher ever runs there.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from aar.outside.sandbox.argv import sandbox_python
from aar.outside.sandbox.client import LauncherClient, Running
from aar.outside.sandbox.spec import MAY_HOLD_FILES_OF_THE_BENCH, SandboxSpec

BENCH_UID_SLOT = 90
MAX_LINE_BYTES = 64 << 20
ANSWER_S = 5.0


class BenchFailed(Exception):
    """The bench could not answer; the message says what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """An official run's instance files by name, and per split what the evaluator keeps to itself."""

    files: Mapping[str, bytes]
    kept: Sequence[Mapping[str, Any]]


class Bench:
    """One persistent bench sandbox; calls are serial.

    `data` are the files of the study's data set by name, if it has one: these bytes are what the bench makes
    its digest of, and what it teaches with. No other sandbox is handed them.
    """

    def __init__(self, launcher: LauncherClient, data: Mapping[str, bytes] | None = None) -> None:
        self._lock = threading.Lock()
        directory = MAY_HOLD_FILES_OF_THE_BENCH
        self._running: Running = launcher.start(
            SandboxSpec(
                name="bench",
                profile="bench",
                argv=(*sandbox_python(), "-m", "aar.lab.bench", *([directory] if data else [])),
                files={directory + name: content for name, content in (data or {}).items()},
                gateway_dir=None,
                env={},
                uid_slot=BENCH_UID_SLOT,
                memory_mib=2048,
                processes=64,
                cpu_s=86_400,
                wall_s=1_000_000.0,
            ),
            stdin=None,
        )
        if self._running.stdin is None:
            raise BenchFailed("the bench has no input pipe")
        self._stdin: IO[bytes] = self._running.stdin

    def describe(self, problem: str) -> dict[str, Any]:
        """Name, sizes, digest and statement of a problem, and what the pre-flight warns of."""
        return self._ask({"do": "describe", "problem": problem})[0]

    def baselines(
        self, problem: str, runs: Sequence[tuple[int, int]], sealed: Sequence[int]
    ) -> dict[str, Any]:
        """Weak, ceiling, gap, its standard error and the plain student over `runs` (seed, replicate)."""
        return self._ask({"do": "baselines", "problem": problem, "runs": runs, "sealed": sealed})[0]

    def prepare(
        self,
        problem: str,
        runs: Sequence[tuple[int, int]],
        sealed: Sequence[int],
        key: bytes,
        *,
        control: int = 0,
    ) -> Prepared:
        """Teach all `runs`; `key` shuffles rows and test items. Under a `control` weak labels say nothing."""
        request = {
            "do": "prepare",
            "problem": problem,
            "runs": runs,
            "sealed": sealed,
            "key": key.hex(),
            "control": control,
        }
        answer, files = self._ask(request)
        return Prepared(files=dict(zip(answer["files"], files, strict=True)), kept=answer["splits"])

    def residual(
        self,
        problem: str,
        runs: Sequence[tuple[int, int]],
        sealed: Sequence[int],
        key: bytes,
        lines: Sequence[str],
    ) -> float:
        """The share of the answers in `lines`, one per run, that no rule over the features reproduces."""
        request = {"do": "residual", "problem": problem, "runs": runs, "sealed": sealed, "key": key.hex()}
        return float(self._ask({**request, "lines": lines})[0]["residual"])

    def close(self) -> None:
        self._running.close()

    def _end(self) -> str:
        ended = self._running.wait(ANSWER_S)
        return f"the bench ended ({ended.reason}, exit {ended.code}) {ended.detail}".rstrip()

    def _ask(self, request: Mapping[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        with self._lock:
            try:
                self._stdin.write(json.dumps(request).encode() + b"\n")
                self._stdin.flush()
                line = self._running.stdout.readline(MAX_LINE_BYTES)
                answer: dict[str, Any] = json.loads(line) if line else {"error": self._end()}
                sizes = [int(size) for size in answer.get("bytes", [])]
                files = [self._running.stdout.read(size) for size in sizes]
            except (OSError, ValueError) as error:
                raise BenchFailed(f"the bench does not answer: {error}") from error
        if "error" in answer:
            raise BenchFailed(str(answer["error"])[:500])
        if [len(file) for file in files] != sizes:
            raise BenchFailed("the bench ended in the middle of an answer")
        return answer, files
