"""What researchers that are models cost: memory and processor time for each, with our walls and without.

    python benchmarks/researchers.py [--researchers N] [--skip study,plain,rest]

Three ways of the same work, N researchers at once, against a model provider of our own on loopback:
`study` is `aar run` with real sandboxes, gateway, evaluator and record; `plain` is Inspect AI alone with the
same turns, its tools answering at once with texts of the same length; `rest` is a study of
examples/researchers/plain.py, which needs no model. Read the ratios: no shared machine is twice the same.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests")]

from llm import policies  # noqa: E402
from llm.fake_anthropic import fake_anthropic  # noqa: E402
from llm.fake_model import CANARY_KEY, FakeModel, Request  # noqa: E402
from llm.fake_openai import fake_openai  # noqa: E402
from llm.model_study import CLAUDE, ModelStudy, prepare, study_text  # noqa: E402
from small_study import SERVICES, Commands, processes_of  # noqa: E402

WORKER = "aar.llm.worker"
LOOK_S = 0.25


class Peaks:
    """The most memory that each kind of process of a study held at once, looked at while it runs."""

    def __init__(self, study: Path) -> None:
        self.mib: Counter[str] = Counter()
        self.cpu_s: dict[str, float] = {}
        self._study = study
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Peaks:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        by_process: dict[int, tuple[str, float]] = {}
        while not self._over.wait(LOOK_S):
            now: Counter[str] = Counter()
            for name, pids in processes_of(self._study).items():
                for pid in pids:
                    kind = "worker" if name == "sandbox" and _is_worker(pid) else name
                    now[kind] += _proportional_mib(pid)
                    by_process[pid] = (kind, _cpu_s(pid) or by_process.get(pid, ("", 0.0))[1])
            for kind, mib in now.items():
                self.mib[kind] = max(self.mib[kind], mib)
        for kind, cpu_s in by_process.values():
            self.cpu_s[kind] = self.cpu_s.get(kind, 0.0) + cpu_s


def _is_worker(pid: int) -> bool:
    try:
        return WORKER.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _proportional_mib(pid: int) -> int:
    """Memory of a process, what it shares counted in parts."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) // 1024


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / 100


def study(count: int, directory: Path) -> dict[str, Any]:
    """`aar run` with that many models."""
    commands = Commands(directory)
    path = directory / "study"
    with fake_anthropic(policies.diligent) as claude, fake_openai(policies.diligent) as other:
        prepare(commands, claude, other)
        text = study_text([f'model = "{CLAUDE}"'] * count, tasks=count).replace("minutes = 5", "minutes = 30")
        began = time.monotonic()
        with Peaks(path) as peaks:
            done = commands.run(
                "run", commands.study_file(text), "--dir", str(path), "--json", timeout_s=1_800
            )
        wall_s = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    ran = ModelStudy(commands, path, done.stdout)
    lost = check_nothing_lost_or_doubled(ran, claude, count)
    services = sum(mib for kind, mib in peaks.mib.items() if kind in (*SERVICES, "supervisor"))
    return {
        "turns": len(claude.requests),
        "wall_s": wall_s,
        "worker_mib": peaks.mib["worker"],
        "services_mib": services,
        "sandboxes_mib": peaks.mib["sandbox"],
        "worker_cpu_s": peaks.cpu_s.get("worker", 0.0),
        "services_cpu_s": json.loads(done.stdout)["control_plane_cpu_s"],
        "lost_or_doubled": lost,
    }


def check_nothing_lost_or_doubled(ran: ModelStudy, claude: FakeModel, count: int) -> int:
    """How many actions are not in the record exactly once, or charged otherwise than the provider counts."""
    wrong = 0
    for number in range(1, count + 1):
        name = f"researcher-{number}"
        tasks = sum(one["body"]["researcher"] == name for one in ran.of("task-closed"))
        wrong += sum(len(ran.by(name, kind)) != tasks for kind in ("submission", "finding"))
        account = claude.accounts.get(name)
        wrong += account is not None and sum(ran.spent(name).tokens.values()) != account.tokens
        numbers = Counter(
            (policies.task_of(one), one.number) for one in claude.requests if one.researcher == name
        )
        wrong += sum(times - 1 for times in numbers.values())
    return wrong


PLAIN = """
import asyncio, json, os, sys
from inspect_ai import Task, eval_async
from inspect_ai.agent import AgentSubmit, react
from inspect_ai.dataset import Sample
from inspect_ai.tool import ToolDef, ToolParam, ToolParams

told = json.loads(sys.stdin.read())

def stub(name, schema, answers):
    left = {}
    async def execute(**arguments):
        return answers[-1] if answers else "done"
    return ToolDef(execute, name=name, description=name, parameters=ToolParams.model_validate(schema))

samples = [Sample(id=brief["name"], input=brief["text"]) for brief in told["briefs"]]
tools = [stub(name, schema, told["answers"].get(name, [])) for name, schema in told["tools"].items()]
finish = next(one for one in tools if one.name == "finish_task")
agent = react(prompt=None, tools=[one for one in tools if one is not finish],
              submit=AgentSubmit(tool=finish, keep_in_messages=True))
asyncio.run(eval_async(Task(dataset=samples, solver=agent), model=told["model"], max_samples=len(samples),
            log_dir=told["logs"], log_realtime=False, log_model_api=False, score=False, ctl_server=False))
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
times = os.times()
sys.stderr.write(json.dumps({"mib": peak // 1024, "cpu_s": times.user + times.system}) + "\\n")
"""


def plain(count: int, directory: Path, seen: list[Request]) -> dict[str, Any]:
    """Inspect alone: the same briefs, tools and answers as one researcher of `study` saw."""
    first, last = seen[0], seen[-1]
    answers = {name: last.results_of(name)[:1] for name in first.tools}
    answers["score_status"] = last.results_of("score_status")[-1:]
    briefs = [
        {
            "name": f"researcher-{one}",
            "text": first.turns[0].text.replace("researcher-1,", f"researcher-{one},"),
        }
        for one in range(1, count + 1)
    ]
    with fake_anthropic(policies.diligent) as claude:
        told = {
            "model": CLAUDE,
            "logs": str(directory / "logs"),
            "briefs": briefs,
            "tools": {name: with_descriptions(schema) for name, schema in first.tools.items()},
            "answers": answers,
        }
        environment = {
            **Commands(directory).environment,
            "ANTHROPIC_API_KEY": CANARY_KEY,
            "ANTHROPIC_BASE_URL": claude.url,
            "HOME": str(directory),
            "XDG_DATA_HOME": str(directory),
            "INSPECT_DISPLAY": "none",
        }
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", PLAIN],
            input=json.dumps(told),
            env=environment,
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
        )
        wall_s = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    used = json.loads(done.stderr.splitlines()[-1])
    return {
        "turns": len(claude.requests),
        "wall_s": wall_s,
        "worker_mib": used["mib"],
        "worker_cpu_s": used["cpu_s"],
    }


def with_descriptions(schema: Any) -> Any:
    """As the provider was sent it; Inspect wants a description of every property."""
    properties = {name: {"description": name, **one} for name, one in schema.get("properties", {}).items()}
    return {**schema, "properties": properties}


def rest(count: int, directory: Path) -> dict[str, Any]:
    """The same study of the forty lines that speak REST in their sandboxes: no model, no Inspect."""
    commands = Commands(directory)
    program = ROOT / "examples" / "researchers" / "plain.py"
    text = study_text([f'program = "{program}"'] * count, tasks=count).replace("minutes = 5", "minutes = 30")
    (directory / "prices.toml").write_text("", "utf-8")
    path = directory / "study"
    began = time.monotonic()
    with Peaks(path) as peaks:
        text = text.replace('\n[llm]\nprices = "prices.toml"', "")
        done = commands.run("run", commands.study_file(text), "--dir", str(path), "--json", timeout_s=1_800)
    assert done.returncode == 0, done.stderr
    services = sum(mib for kind, mib in peaks.mib.items() if kind in (*SERVICES, "supervisor"))
    return {
        "wall_s": time.monotonic() - began,
        "services_mib": services,
        "sandboxes_mib": peaks.mib["sandbox"],
        "services_cpu_s": json.loads(done.stdout)["control_plane_cpu_s"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--researchers", type=int, default=16)
    parser.add_argument("--skip", default="", help="comma-separated: study, plain, rest")
    options = parser.parse_args()
    skipped, count = options.skip.split(","), options.researchers
    seen: list[Request] = []
    remembering = policies.diligent

    def remember(request: Request) -> Any:
        if request.researcher == "researcher-1":
            seen.append(request)
        return remembering(request)

    policies.diligent = remember  # type: ignore[assignment]
    ways: dict[str, Callable[[Path], dict[str, Any]]] = {
        "study": lambda directory: study(count, directory),
        "plain": lambda directory: plain(count, directory, list(seen)),
        "rest": lambda directory: rest(count, directory),
    }
    print(f"{count} researchers at once")
    for name, way in ways.items():
        if name in skipped:
            continue
        with tempfile.TemporaryDirectory(prefix="aar-researchers-") as scratch:
            Path(scratch).chmod(0o755)
            told = way(Path(scratch))
        print(
            f"{name}: {told.pop('wall_s'):.0f} s"
            + (f", {told.pop('turns')} turns" if "turns" in told else "")
        )
        for key, value in told.items():
            of_each = f", {value / count:.2f} each" if isinstance(value, (int, float)) and value else ""
            print(f"  {key:16} {value:8.1f}{of_each}")
    print(f"this process, with both providers: {resource.getrusage(resource.RUSAGE_SELF).ru_utime:.1f} CPU-s")


if __name__ == "__main__":
    main()
