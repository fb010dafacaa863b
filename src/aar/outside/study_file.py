"""The study file: what a human asks a team of researchers to do, read strictly from TOML.

```toml
[study]
name = "digits"            # also the default directory name
problem = "digits"
researchers = 3
minutes = 2.5
submissions = 40           # of the whole study; default: what its tasks ask for
confirmations = 6          # of the whole study: runs with new seeds that researchers may ask for
seeds = 5                  # per official run; replicates are fresh splits per seed
replicates = 8
allocation = "directed"    # who gets which task: also undirected, round-robin, bandit, risk-tiered
directions = []            # directed: one for each researcher in turn, else its task's
data = "my-data"           # with problem = "jsonl": the directory of its files, as seen from this file
heldout = []               # problems that no researcher sees: what a result claims is run there at the end

quorum = 2                 # witnesses that must cosign; default: the local one and all of [[witness]]

[[witness]]                # one that is not ours; the local witness counts beside it
name = "example.org/w1"    # its key's name
vkey = "example.org/w1+..."
url = "http://witness.example.org:8080"

[[anchor]]                 # where the record is written through to; [study] anchors = N wants N of them
name = "vault"
kind = "directory"         # or "mirror", both with a path; or "s3", with a bucket, a region and retain_days
path = "/mnt/vault"

[[researcher]]             # the k-th table is researcher-k's; an empty one, or none, is the scripted one
program = "mine.py"        # a single Python file, as seen from this one; it runs in the researcher's sandbox
seed = 7                   # handed to it as --seed; default: from the study's origin and its name
tools = "mcp"              # its tools as MCP, too, on /run/gw/mcp.sock; wants the extra llm

[[researcher]]             # or a language model, which thinks outside and acts in the researcher's sandbox
model = "anthropic/claude-sonnet-4-5"
tokens = 2_000_000         # of this one; both limits have a default
dollars = "5.00"
agent = "claude-code"      # or "codex": it thinks through that program, in its sandbox; default: our own loop
minutes = 30               # for which it holds a task; these three are for any researcher, and have none
sandbox_seconds = 600      # of processor time in its own sandboxes
submissions = 10

[budget]                   # of all models together; default: the sums of theirs
tokens = 4_000_000
dollars = "10.00"
sandbox_seconds = 3_600    # of all researchers together

[llm]
prices = "my-prices.toml"  # dollars for a million tokens, before those of aar.outside.prices
brief = "my-brief.md"      # template of what each is told first, in the place of aar.llm's
fresh = true               # a conversation begins anew, from brief and notebook, after each finding

[llm.agents]               # where the programs of agents are; default: on the PATH, as claude and codex
claude-code = "/usr/local/bin/claude"
[monitor]                  # a language model that reads what researchers say and do, beside the rules
model = "anthropic/claude-sonnet-4-5"
tokens = 2_000_000         # its own limits: nobody else spends of them, and it of nobody else's
dollars = "5.00"
every_turns = 10           # it reads after so many turns of a model, and what is handed in, at the latest
hold = true                # it may hold a submission until a reviewer lets it go

[sandbox]
backend = "bubblewrap"     # the default; "container" is podman's. Never "bare", which only a person asks for

# [oversight] has limits, what lies downstream, a human baseline: aar.outside.oversight.terms

[[task]]
task = "t1"
title = "..."
workflow = "fixed"         # or "free", or "hybrid" with a [task.scope]
direction = "..."
submissions = 12
tokens = 500_000           # what all who work on it may use together, each of these if you like
dollars = "2.00"
minutes = 20               # for which somebody holds it
sandbox_seconds = 300
priority = 0               # up to 9, which goes out first
risk = "low"               # or "medium", "high": wants a stricter workflow under "risk-tiered"
[[task.step]]              # a fixed workflow's steps, in the human's order
name = "s1"
what = "..."
pipelines = ['[["probe", {}]]']
[task.scope]               # a hybrid workflow's: what is outside is refused, and an alarm
families = ["confidence", "self-training"]
submissions = 4            # per step of a plan
programs = false           # or true: methods of its own too, whose families nobody knows
```
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from importlib import resources
from pathlib import Path
from typing import Any

from aar.formats.canonical import format_canonical
from aar.formats.errors import FormatError
from aar.formats.keys import COSIGNATURE, parse_vkey
from aar.formats.kinds import AGENTS, POLICIES, RISKS, WORKFLOWS, check_body
from aar.formats.policy import GROUP, NO_QUORUM
from aar.lab.problems import DEFAULT_PROBLEM, JSONL
from aar.lab.snapshot import FAMILIES
from aar.outside.oversight.terms import NO_TERMS, Terms, TermsError, format_terms, parse_terms
from aar.outside.providers import MODEL
from aar.outside.record.witness_client import parse_witness_url
from aar.outside.sandbox.interface import BACKENDS, BARE, DEFAULT_BACKEND
from aar.verify.spending import format_dollars
from aar.verify.workflow import STRICT_ENOUGH

DEFAULT_STUDY = DEFAULT_PROBLEM
MAX_RESEARCHERS = 64
LOCAL_WITNESS = "witness-local"
MAX_OTHER_WITNESSES = 15
MAX_SEED = 2**32 - 1
REST, OVER_MCP = "rest", "mcp"
# What one researcher that is a model may use when nobody says otherwise.
MODEL_TOKENS = 2_000_000
MODEL_DOLLARS = Fraction(5)
MAX_TOKENS = 10**12
# How often a monitor that is a model reads when nobody says otherwise.
EVERY_TURNS = 10
# What an entry can say.
MAX_DOLLARS = Fraction("999999999.99")
MAX_SANDBOX_SECONDS = 10**9
MAX_SUBMISSIONS = 100_000
MAX_MINUTES = 60 * 24 * 30
# An entry has at most 65,535 bytes; signatures and frame want some of them.
MAX_TASK_BYTES = 60_000

_STUDY_KEYS = (
    "name",
    "problem",
    "researchers",
    "minutes",
    "submissions",
    "confirmations",
    "seeds",
    "replicates",
    "draws",
    "heldout",
    "quorum",
    "allocation",
    "directions",
)
_WITNESS_KEYS = ("name", "vkey", "url")
# What each kind of anchor takes beside a name and a kind.
_ANCHOR_KEYS = {
    "directory": ("path", "append_only"),
    "mirror": ("path",),
    "s3": ("bucket", "prefix", "region", "endpoint", "retain_days"),
}
MAX_ANCHORS = 16
CONFIRMATIONS = 6
MAX_HELDOUT = 16
MAX_DIRECTIONS = 64
MAX_DIRECTION_CHARACTERS = 2_000
MAX_DIRECTIONS_CHARACTERS = 16_000
_TASK_KEYS = ("task", "title", "direction", "workflow", "submissions", "priority", "risk")
_LIMIT_KEYS = ("tokens", "dollars", "minutes", "sandbox_seconds", "submissions")


class StudyFileError(ValueError):
    """The study file cannot be used; the message is one line that says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a fixed workflow: pipelines are JSON texts, handed in in this order."""

    name: str
    what: str
    pipelines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a hybrid task leaves free: families of ideas, submissions per step of a plan, own programs."""

    families: tuple[str, ...]
    submissions: int
    programs: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a human allows of a researcher, of a task or of a study; 0 or `None` where nothing is said."""

    tokens: int = 0
    dollars: Fraction | None = None
    minutes: float = 0.0
    sandbox_seconds: int = 0
    submissions: int = 0

    def as_body(self) -> dict[str, Any]:
        """As the record has them: what is said alone, in whole seconds and decimal dollars."""
        told: dict[str, Any] = {name: getattr(self, name) for name in ("tokens", "sandbox_seconds")}
        told |= {"seconds": seconds_of(self.minutes), "submissions": self.submissions}
        told = {name: value for name, value in told.items() if value}
        return told if self.dollars is None else {**told, "dollars": format_dollars(self.dollars)}

    def lines(self) -> list[str]:
        """As the study file has them."""
        told = {key: getattr(self, key) for key in _LIMIT_KEYS if getattr(self, key)}
        return [f"{key} = {_toml(_plain(value))}" for key, value in told.items()]


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """A task as the human wrote it."""

    task: str
    title: str
    direction: str
    workflow: str
    submissions: int
    steps: tuple[Step, ...] = ()
    scope: Scope | None = None
    priority: int = 0
    risk: str = "low"
    # Beside its submissions.
    limits: Limits = NO_LIMITS

    def as_body(self) -> dict[str, Any]:
        """The body of `task-opened`."""
        return {
            "task": self.task,
            "title": self.title,
            "direction": self.direction,
            "workflow": self.workflow,
            "steps": [
                {"name": step.name, "what": step.what, "pipelines": list(step.pipelines)}
                for step in self.steps
            ],
            "scope": {}
            if self.scope is None
            else {
                "families": list(self.scope.families),
                "programs": int(self.scope.programs),
                "submissions": self.scope.submissions,
            },
            "submissions": self.submissions,
            "limits": self.limits.as_body(),
            "priority": self.priority,
            "risk": self.risk,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessSpec:
    """A witness that is not ours: the name and text of its key, and where it takes checkpoints."""

    name: str
    vkey: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorSpec:
    """Where the record is written through to, as the human wrote it."""

    name: str
    kind: str
    path: str = ""
    append_only: bool = False
    bucket: str = ""
    prefix: str = ""
    region: str = ""
    endpoint: str = ""
    retain_days: int = 0

    @property
    def where(self) -> str:
        """In a word, for the record."""
        if self.kind == "s3":
            return f"{self.endpoint or 's3'}/{self.bucket}/{self.prefix}"
        return self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class ResearcherSpec:
    """One researcher as the human wrote it: a program of the human's, a model, or none of both.

    `seed` is -1 for one of its own. `tokens` and `dollars`, exact, are limits of a model; `limits` are those
    that any may have. `tools`: whether it has them as MCP, too. `agent` is the program that a model thinks
    through, or "" for our own loop.
    """

    program: str = ""
    seed: int = -1
    model: str = ""
    tokens: int = 0
    dollars: Fraction = Fraction()
    tools: str = REST
    agent: str = ""
    limits: Limits = NO_LIMITS


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorSpec:
    """A monitor that is a model, as the human wrote it: its limits, how often it reads, whether it holds."""

    model: str
    tokens: int = MODEL_TOKENS
    dollars: Fraction = MODEL_DOLLARS
    every_turns: int = EVERY_TURNS
    hold: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFile:
    """A whole study as the human wrote it; budgets are totals over the study."""

    name: str
    problem: str
    researchers: int
    minutes: float
    seeds: int
    replicates: int
    draws: int
    tasks: tuple[TaskSpec, ...]
    text: str
    least_submissions: int = 0
    confirmations: int = CONFIRMATIONS
    heldout: tuple[str, ...] = ()
    witnesses: tuple[WitnessSpec, ...] = ()
    quorum: int = 1
    anchors: tuple[AnchorSpec, ...] = ()
    anchors_needed: int = 0
    data: str = ""
    allocation: str = "directed"
    directions: tuple[str, ...] = ()
    oversight: Terms = NO_TERMS
    team: tuple[ResearcherSpec, ...] = ()
    backend: str = DEFAULT_BACKEND
    # Of all models together; 0 where there is none.
    tokens: int = 0
    dollars: Fraction = Fraction()
    # Of all researchers' sandboxes together; 0 for any.
    sandbox_seconds: int = 0
    # Paths of the user's own prices and template, or "".
    prices: str = ""
    brief: str = ""
    # Whether a model's conversation begins anew after each finding that it posts.
    fresh: bool = False
    # Paths of the agents' programs, by agent; one that is not there is looked for on the path.
    agent_programs: Mapping[str, str] = field(default_factory=dict)
    monitor: MonitorSpec | None = None

    @property
    def agents(self) -> tuple[str, ...]:
        """The agents that its models think through, each once."""
        return tuple(sorted({one.agent for one in self.team if one.agent}))

    @property
    def asked(self) -> tuple[str, ...]:
        """Every model that is asked in this study, each once: its researchers' and the monitor's."""
        more = [] if self.monitor is None else [self.monitor.model]
        return tuple(sorted({*self.models, *more}))

    @property
    def models(self) -> tuple[str, ...]:
        """The models among its researchers, each once."""
        return tuple(sorted({one.model for one in self.team if one.model}))

    @property
    def submissions(self) -> int:
        """The study's budget of official runs: what its tasks ask for, or more, for tasks opened later."""
        return max(sum(task.submissions for task in self.tasks), self.least_submissions)

    def limits_of(self, researchers: Sequence[str]) -> list[dict[str, Any]]:
        """What `study-opened` says of limits beside the study's budget and those of models."""
        told = [("", Limits(sandbox_seconds=self.sandbox_seconds))]
        told += [(name, one.limits) for name, one in zip(researchers, self.team, strict=False)]
        return [{"researcher": name, "limits": one.as_body()} for name, one in told if one.as_body()]

    def with_researchers(self, count: int) -> StudyFile:
        """The same study for `count` researchers: tasks without steps are reused so that all have work."""
        if not 1 <= count <= MAX_RESEARCHERS:
            raise StudyFileError(f"--researchers {count}: want 1 to {MAX_RESEARCHERS}")
        if count < len(self.team):
            raise StudyFileError(
                f"--researchers {count}: the study file has {len(self.team)} [[researcher]] tables"
            )
        tasks = list(self.tasks)
        free = [task for task in tasks if task.workflow != "fixed"]
        while free and len(tasks) < count:
            model = free[(len(tasks) - len(self.tasks)) % len(free)]
            tasks.append(replace(model, task=f"{model.task}-{len(tasks) + 1}"))
        return replace(self, researchers=count, tasks=tuple(tasks))

    def with_programs_from(self, directory: Path) -> StudyFile:
        """The same study; a relative path to a researcher's program is one from `directory`."""
        team = [
            replace(one, program=str((directory / one.program).absolute())) if one.program else one
            for one in self.team
        ]
        for one in team:
            try:
                one.program.encode("utf-8")
            except UnicodeEncodeError as error:
                raise StudyFileError(
                    f"program: {one.program!r:.200}: want a path in UTF-8 text: {error}"
                ) from error
        return replace(self, team=tuple(team))

    def with_data_from(self, directory: Path) -> StudyFile:
        """The same study; a relative path to its data set is one from `directory`."""
        if not self.data:
            return self
        data = str((directory / self.data).absolute())
        try:
            data.encode("utf-8")
        except UnicodeEncodeError as error:
            raise StudyFileError(f"data: {data!r:.200}: want a path in UTF-8 text: {error}") from error
        return replace(self, data=data)

    def with_model(self, model: str) -> StudyFile:
        """The same study with that model in the place of every researcher that the file says nothing of."""
        check_model(model, "--model")
        missing = self.researchers - len(self.team)
        team = [*self.team, *(ResearcherSpec() for _number in range(missing))]
        team = [
            replace(one, model=model, tokens=MODEL_TOKENS, dollars=MODEL_DOLLARS)
            if not one.program and not one.model
            else one
            for one in team
        ]
        return replace(self, team=tuple(team)).with_budget(0, None)

    def with_agent(self, agent: str, program: str = "") -> StudyFile:
        """The same study, with every model thinking through that agent, whose program may be named."""
        check_agent(agent, "--agent")
        team = [replace(one, agent=agent) if one.model and not one.agent else one for one in self.team]
        if agent not in {one.agent for one in team}:
            raise StudyFileError(f"--agent {agent}: the study has no researcher that is a model: see --model")
        programs = {**self.agent_programs, **({agent: program} if program else {})}
        return replace(self, team=tuple(team), agent_programs=programs)

    def with_monitor(self, model: str) -> StudyFile:
        """The same study with that model for its monitor, on the file's other terms of one, or on ours."""
        check_model(model, "--monitor")
        kept = MonitorSpec(model=model) if self.monitor is None else replace(self.monitor, model=model)
        return replace(self, monitor=kept)

    def with_budget(self, tokens: int, dollars: Fraction | None) -> StudyFile:
        """The same study with limits of all models together; 0 and `None` are the sums of theirs."""
        models = [one for one in self.team if one.model]
        if dollars is None:
            dollars = sum((one.dollars for one in models), Fraction())
            if dollars > MAX_DOLLARS:
                raise StudyFileError(
                    f"dollars of all models together: {format_dollars(dollars)}, at most "
                    f"{format_dollars(MAX_DOLLARS)}: give each less, or say how many in [budget]"
                )
        return replace(self, tokens=tokens or sum(one.tokens for one in models), dollars=dollars)

    def with_llm_files_from(self, directory: Path) -> StudyFile:
        """The same study; relative paths to its prices, brief and agents are from `directory`."""
        return replace(
            self,
            prices=str((directory / self.prices).absolute()) if self.prices else "",
            brief=str((directory / self.brief).absolute()) if self.brief else "",
            agent_programs={
                name: str((directory / path).absolute()) for name, path in self.agent_programs.items()
            },
        )

    def with_backend(self, backend: str) -> StudyFile:
        """The same study in other sandboxes; `BARE` is no study file's, and leaves it as it is."""
        return self if backend == BARE else replace(self, backend=backend)

    def with_minutes(self, minutes: float) -> StudyFile:
        """The same study with another time budget."""
        return replace(self, minutes=_minutes(minutes, "--minutes"))

    def as_written(self) -> StudyFile:
        """The same study with the text that says exactly this: what the study directory keeps."""
        lines = ["[study]"]
        lines += [f"{key} = {_toml(getattr(self, key))}" for key in _STUDY_KEYS]
        for witness in self.witnesses:
            lines += ["", "[[witness]]"]
            lines += [f"{key} = {_toml(getattr(witness, key))}" for key in _WITNESS_KEYS]
        if self.data:
            lines.insert(len(_STUDY_KEYS) + 1, f"data = {_toml(self.data)}")
        if self.anchors:
            lines.insert(len(_STUDY_KEYS) + 1, f"anchors = {self.anchors_needed}")
        for anchor in self.anchors:
            lines += ["", "[[anchor]]"]
            keys = ("name", "kind", *_ANCHOR_KEYS[anchor.kind])
            lines += [f"{key} = {_toml(getattr(anchor, key))}" for key in keys]
        for one in self.team:
            lines += ["", "[[researcher]]"]
            lines += [f"program = {_toml(one.program)}"] if one.program else []
            lines += [f"seed = {one.seed}"] if one.seed >= 0 else []
            lines += [f"tools = {_toml(one.tools)}"] if one.tools != REST else []
            if one.model:
                lines += [f"model = {_toml(one.model)}", *_budget_lines(one.tokens, one.dollars)]
            lines += [f"agent = {_toml(one.agent)}"] if one.agent else []
            lines += one.limits.lines()
        if self.models or self.sandbox_seconds:
            lines += ["", "[budget]"]
            lines += _budget_lines(self.tokens, self.dollars) if self.models else []
            lines += Limits(sandbox_seconds=self.sandbox_seconds).lines()
        if self.prices or self.brief or self.fresh:
            lines += ["", "[llm]"]
            lines += [f"prices = {_toml(self.prices)}"] if self.prices else []
            lines += [f"brief = {_toml(self.brief)}"] if self.brief else []
            lines += ["fresh = true"] if self.fresh else []
        if self.agent_programs:
            lines += ["", "[llm.agents]"]
            lines += [f"{name} = {_toml(path)}" for name, path in sorted(self.agent_programs.items())]
        if self.monitor is not None:
            lines += ["", "[monitor]", f"model = {_toml(self.monitor.model)}"]
            lines += _budget_lines(self.monitor.tokens, self.monitor.dollars)
            lines += [f"every_turns = {self.monitor.every_turns}", f"hold = {_toml(self.monitor.hold)}"]
        if self.backend != DEFAULT_BACKEND:
            lines += ["", "[sandbox]", f"backend = {_toml(self.backend)}"]
        lines += format_terms(self.oversight)
        for task in self.tasks:
            lines += ["", "[[task]]"]
            lines += [f"{key} = {_toml(getattr(task, key))}" for key in _TASK_KEYS]
            lines += task.limits.lines()
            for step in task.steps:
                lines += ["[[task.step]]", f"name = {_toml(step.name)}", f"what = {_toml(step.what)}"]
                lines.append(f"pipelines = {_toml(list(step.pipelines))}")
            if task.scope is not None:
                lines += ["[task.scope]", f"families = {_toml(list(task.scope.families))}"]
                lines += [
                    f"submissions = {task.scope.submissions}",
                    f"programs = {_toml(task.scope.programs)}",
                ]
        return replace(self, text="\n".join(lines) + "\n")


def default_study_text() -> str:
    """The embedded default study file."""
    return resources.files("aar.outside.studies").joinpath(f"{DEFAULT_STUDY}.toml").read_text("utf-8")


def parse_study(text: str, *, source: str, problems: tuple[str, ...]) -> StudyFile:
    """Read a study file; `StudyFileError` names the first thing that is wrong and what was wanted."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise StudyFileError(f"{source}: not TOML: {error}") from error
    _only(
        document,
        {"study", "task", "witness", "anchor", "oversight", "researcher", "budget", "llm", "monitor"}
        | {"sandbox"},
        source,
    )
    study = _table(document, "study", source)
    _only(study, {*_STUDY_KEYS, "anchors", "data"}, f"{source} [study]")
    problem = _string(study, "problem", f"{source} [study]")
    if problem not in problems:
        raise StudyFileError(
            f"{source} [study]: unknown problem {problem!r:.60}, there is: {', '.join(problems)}"
        )
    heldout = _heldout(study.get("heldout", []), problem, problems, f"{source} [study]")
    tasks = document.get("task", [])
    if not isinstance(tasks, list) or not tasks:
        raise StudyFileError(f"{source}: no [[task]]; a study needs at least one")
    specs = tuple(_task(task, f"{source} [[task]] {number}") for number, task in enumerate(tasks, 1))
    names = [spec.task for spec in specs]
    if len(set(names)) != len(names):
        raise StudyFileError(f"{source}: two tasks have the same name: {', '.join(names)}")
    allocation, directions = _allocation(study, f"{source} [study]")
    for number, spec in enumerate(specs, 1):
        _check_risk(spec, allocation, f"{source} [[task]] {number}")
    witnesses = _witnesses(document.get("witness", []), source)
    anchors = _anchors(document.get("anchor", []), source)
    researchers = _integer(study, "researchers", f"{source} [study]", 3, MAX_RESEARCHERS)
    try:
        oversight = parse_terms(document.get("oversight"), f"{source} [oversight]")
    except TermsError as error:
        raise StudyFileError(str(error)) from error
    team = _team(document.get("researcher", []), researchers, source)
    study_file = StudyFile(
        name=_name(study, "name", f"{source} [study]"),
        problem=problem,
        researchers=researchers,
        minutes=_minutes(study.get("minutes", 3), f"{source} [study] minutes"),
        seeds=_integer(study, "seeds", f"{source} [study]", 5, 100),
        replicates=_integer(study, "replicates", f"{source} [study]", 8, 100),
        draws=_integer(study, "draws", f"{source} [study]", 300, 10_000),
        tasks=specs,
        text=text,
        least_submissions=_integer(study, "submissions", f"{source} [study]", 1, 1_000_000),
        confirmations=_integer(study, "confirmations", f"{source} [study]", CONFIRMATIONS, 100_000, least=0),
        heldout=heldout,
        witnesses=witnesses,
        quorum=_integer(study, "quorum", f"{source} [study]", 1 + len(witnesses), 1 + len(witnesses)),
        anchors=anchors,
        anchors_needed=_anchors_needed(study, len(anchors), source),
        allocation=allocation,
        directions=directions,
        data=_data(study, JSONL in (problem, *heldout), f"{source} [study]"),
        oversight=oversight,
        team=team,
        prices=_llm(document, "prices", source),
        brief=_llm(document, "brief", source),
        backend=_backend(document.get("sandbox", {}), f"{source} [sandbox]"),
        fresh=_fresh(document, source),
        agent_programs=_agent_programs(document, source),
        monitor=_monitor(document, source),
    )
    tokens, dollars = _budget(document, source, has_models=bool(study_file.models))
    limits = _limits(document.get("budget", {}), f"{source} [budget]", ("sandbox_seconds",))
    return replace(study_file, sandbox_seconds=limits.sandbox_seconds).with_budget(tokens, dollars)


def _llm(document: Mapping[str, Any], key: str, source: str) -> str:
    """A path of the [llm] table, or ""."""
    if "llm" not in document:
        return ""
    table = _table(document, "llm", source)
    _only(table, {"prices", "brief", "fresh", "agents"}, f"{source} [llm]")
    return _string(table, key, f"{source} [llm]") if key in table else ""


def _agent_programs(document: Mapping[str, Any], source: str) -> dict[str, str]:
    """The [llm.agents] table: paths by agent."""
    llm = document.get("llm", {})
    if not isinstance(llm, dict) or "agents" not in llm:
        return {}
    where = f"{source} [llm.agents]"
    table = _table(llm, "agents", source)
    _only(table, set(AGENTS), where)
    return {name: _string(table, name, where) for name in table}


def _fresh(document: Mapping[str, Any], source: str) -> bool:
    fresh = document.get("llm", {}).get("fresh", False)
    if not isinstance(fresh, bool):
        raise StudyFileError(f"{source} [llm]: fresh: got {fresh!r:.40}, want true or false")
    return fresh


def _monitor(document: Mapping[str, Any], source: str) -> MonitorSpec | None:
    """The [monitor] table, where there is one."""
    if "monitor" not in document:
        return None
    table, where = _table(document, "monitor", source), f"{source} [monitor]"
    _only(table, {"model", "tokens", "dollars", "every_turns", "hold"}, where)
    model = _string(table, "model", where)
    check_model(model, f"{where}: model")
    hold = table.get("hold", True)
    if not isinstance(hold, bool):
        raise StudyFileError(f"{where}: hold: got {hold!r:.40}, want true or false")
    return MonitorSpec(
        model=model,
        tokens=_integer(table, "tokens", where, MODEL_TOKENS, MAX_TOKENS),
        dollars=_dollars(table, where) if "dollars" in table else MODEL_DOLLARS,
        every_turns=_integer(table, "every_turns", where, EVERY_TURNS, 1_000),
        hold=hold,
    )


def _budget(document: Mapping[str, Any], source: str, *, has_models: bool) -> tuple[int, Fraction | None]:
    """The limits of all models together, 0 and `None` where the file says nothing of them."""
    if "budget" not in document:
        return 0, None
    table, where = _table(document, "budget", source), f"{source} [budget]"
    _only(table, {"tokens", "dollars", "sandbox_seconds"}, where)
    if not has_models and set(table) != {"sandbox_seconds"}:
        raise StudyFileError(f"{where}: tokens and dollars are of researchers with a model: there is none")
    tokens = _integer(table, "tokens", where, None, MAX_TOKENS) if "tokens" in table else 0
    return tokens, _dollars(table, where) if "dollars" in table else None


def _limits(table: Mapping[str, Any], where: str, keys: Collection[str]) -> Limits:
    """The limits of these keys that a table has."""
    told: dict[str, Any] = {}
    most = {"tokens": MAX_TOKENS, "sandbox_seconds": MAX_SANDBOX_SECONDS, "submissions": MAX_SUBMISSIONS}
    for key in keys:
        if key not in table:
            continue
        if key == "dollars":
            told[key] = _dollars(table, where)
        elif key == "minutes":
            told[key] = _minutes(table[key], f"{where}: minutes")
        else:
            told[key] = _integer(table, key, where, None, most[key])
    return Limits(**told)


def seconds_of(minutes: float) -> int:
    """A limit on time as the record has it: whole seconds, and one at least of what is more than nothing."""
    return max(int(minutes * 60), 1) if minutes else 0


def _plain(value: object) -> object:
    """What TOML can say: dollars as a text."""
    return format_dollars(value) if isinstance(value, Fraction) else value


def _dollars(table: Mapping[str, Any], where: str) -> Fraction:
    try:
        dollars = dollars_of(table["dollars"])
    except ValueError as error:
        raise StudyFileError(f"{where}: dollars: {error}") from error
    if dollars <= 0:
        raise StudyFileError(f"{where}: dollars: got {table['dollars']!r:.40}, want more than nothing")
    return dollars


def dollars_of(value: object) -> Fraction:
    """An exact amount from a TOML value: a text such as "2.50", or a number; `ValueError` when it is none."""
    is_number = isinstance(value, (str, int, float)) and not isinstance(value, bool)
    if not is_number or not re.fullmatch("(0|[1-9][0-9]{0,8})(\\.[0-9]{1,10})?", str(value), re.ASCII):
        raise ValueError(f"got {value!r:.40}, want dollars such as '2.50'")
    return Fraction(str(value))


def check_model(model: str, where: str) -> None:
    """Raise `StudyFileError` unless that is how a model is named."""
    if not MODEL.fullmatch(model) or len(model) > 200:
        raise StudyFileError(
            f"{where}: got {model!r:.80}, want PROVIDER/NAME such as anthropic/claude-sonnet-4-5"
        )


def _backend(table: object, where: str) -> str:
    """The [sandbox] table: which backend, of those that are a wall."""
    if not isinstance(table, dict):
        raise StudyFileError(f"{where}: want a table")
    _only(table, {"backend"}, where)
    backend = table.get("backend", DEFAULT_BACKEND)
    if backend == BARE:
        raise StudyFileError(
            f"{where}: backend {BARE!r} is no sandbox, and no file may ask for it: leave it out here, and "
            "say --backend bare when you start it"
        )
    if backend not in BACKENDS:
        walls = ", ".join(one for one in BACKENDS if one != BARE)
        raise StudyFileError(f"{where}: backend {backend!r:.60}, want one of {walls}")
    return str(backend)


def _team(value: object, count: int, source: str) -> tuple[ResearcherSpec, ...]:
    """The [[researcher]] tables: the k-th is researcher-k's."""
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise StudyFileError(f"{source}: researcher: want [[researcher]] tables")
    if len(value) > count:
        raise StudyFileError(
            f"{source}: {len(value)} [[researcher]] tables for {count} researchers: want at most one each"
        )
    team = []
    for number, table in enumerate(value, 1):
        where = f"{source} [[researcher]] {number}"
        limits = ("minutes", "sandbox_seconds", "submissions")
        _only(table, {"program", "seed", "model", "tokens", "dollars", "tools", "agent", *limits}, where)
        program = _string(table, "program", where) if "program" in table else ""
        if program and not program.endswith(".py"):
            raise StudyFileError(f"{where}: program: {program!r:.80}: want a single .py file")
        seed = _integer(table, "seed", where, 0, MAX_SEED, least=0) if "seed" in table else -1
        tools = table.get("tools", REST)
        if tools not in (REST, OVER_MCP) or (tools == OVER_MCP and not program and "model" not in table):
            raise StudyFileError(
                f'{where}: tools: got {tools!r:.40}, want "rest", or "mcp" for a researcher with a program'
            )
        spec = ResearcherSpec(program=program, seed=seed, tools=tools, limits=_limits(table, where, limits))
        team.append(_with_model(spec, table, where))
    return tuple(team)


def _with_model(spec: ResearcherSpec, table: Mapping[str, Any], where: str) -> ResearcherSpec:
    """The researcher with its model and that one's limits, where it is one."""
    if "model" not in table:
        for key in ("tokens", "dollars", "agent"):
            if key in table:
                raise StudyFileError(f"{where}: {key} is for a researcher with a model")
        return spec
    model = _string(table, "model", where)
    check_model(model, f"{where}: model")
    if spec.program:
        raise StudyFileError(f"{where}: want a program or a model, not both")
    return replace(
        spec,
        model=model,
        tokens=_integer(table, "tokens", where, MODEL_TOKENS, MAX_TOKENS),
        dollars=_dollars(table, where) if "dollars" in table else MODEL_DOLLARS,
        agent=_agent(table, where),
    )


def _agent(table: Mapping[str, Any], where: str) -> str:
    if "agent" in table:
        check_agent(table["agent"], f"{where}: agent")
    return str(table.get("agent", ""))


def check_agent(agent: object, where: str) -> None:
    """Raise `StudyFileError` unless there is such an agent."""
    if agent not in AGENTS:
        raise StudyFileError(
            f"{where}: got {agent!r:.60}, want one of {', '.join(AGENTS)}; without one our own loop asks the "
            "model"
        )


def _budget_lines(tokens: int, dollars: Fraction) -> list[str]:
    return [f"tokens = {tokens}", f'dollars = "{format_dollars(dollars)}"']


def _allocation(study: Mapping[str, Any], where: str) -> tuple[str, tuple[str, ...]]:
    """The policy and the directions it gives out."""
    policy = study.get("allocation", "directed")
    if policy not in POLICIES:
        raise StudyFileError(f"{where}: allocation {policy!r:.60}, want one of {', '.join(POLICIES)}")
    directions = study.get("directions", [])
    if not isinstance(directions, list) or len(directions) > MAX_DIRECTIONS:
        raise StudyFileError(f"{where}: directions: want a list of at most {MAX_DIRECTIONS} texts")
    for one in directions:
        if not isinstance(one, str) or not 0 < len(one.strip()) <= MAX_DIRECTION_CHARACTERS:
            raise StudyFileError(
                f"{where}: directions: got {one!r:.60}, want 1 to {MAX_DIRECTION_CHARACTERS} characters each"
            )
    if sum(map(len, directions)) > MAX_DIRECTIONS_CHARACTERS:
        raise StudyFileError(
            f"{where}: directions: {sum(map(len, directions))} characters in all, at most "
            f"{MAX_DIRECTIONS_CHARACTERS}: they are vague on purpose, and all of them in one entry"
        )
    if len(set(directions)) < len(directions):
        raise StudyFileError(f"{where}: directions: want each once")
    if policy == "bandit" and len(directions) < 2:
        raise StudyFileError(
            f"{where}: allocation = 'bandit' wants at least two directions to choose between"
        )
    if directions and policy not in ("directed", "bandit"):
        raise StudyFileError(f"{where}: directions are for directed and bandit: {policy} gives out none")
    return policy, tuple(directions)


def _check_risk(spec: TaskSpec, allocation: str, where: str) -> None:
    if allocation == "risk-tiered" and spec.workflow not in STRICT_ENOUGH[spec.risk]:
        raise StudyFileError(
            f"{where}: under allocation = 'risk-tiered' a task of {spec.risk} risk is "
            f"{' or '.join(STRICT_ENOUGH[spec.risk])}, this one is {spec.workflow}"
        )


def _data(study: Mapping[str, Any], is_wanted: bool, where: str) -> str:
    """The path of the data set, where a problem is one."""
    if is_wanted:
        return _string(study, "data", where)
    if "data" in study:
        raise StudyFileError(f'{where}: data is for problem = "{JSONL}": no problem here is that')
    return ""


def _heldout(value: object, problem: str, problems: tuple[str, ...], where: str) -> tuple[str, ...]:
    """Problems other than the study's own, once each."""
    others = [one for one in problems if one != problem]
    if not isinstance(value, list) or any(one not in others for one in value) or len(value) > MAX_HELDOUT:
        raise StudyFileError(
            f"{where}: heldout: got {value!r:.80}, want at most {MAX_HELDOUT} of: "
            + (", ".join(others) or "none")
        )
    if len(set(value)) != len(value):
        raise StudyFileError(f"{where}: heldout: {value!r:.80} names a problem twice: want each once")
    return tuple(value)


def _anchors_needed(study: Mapping[str, Any], count: int, source: str) -> int:
    if count == 0:
        if "anchors" in study:
            raise StudyFileError(f"{source} [study]: anchors wants [[anchor]] tables: there are none")
        return 0
    return _integer(study, "anchors", f"{source} [study]", count, count)


def _anchors(value: object, source: str) -> tuple[AnchorSpec, ...]:
    """Where the record is written through to: a name and a place once each."""
    if not isinstance(value, list) or len(value) > MAX_ANCHORS:
        raise StudyFileError(f"{source}: [[anchor]]: want at most {MAX_ANCHORS} tables")
    taken: set[str] = set()
    specs = []
    for number, table in enumerate(value, 1):
        where = f"{source} [[anchor]] {number}"
        if not isinstance(table, dict):
            raise StudyFileError(f"{where}: want a table")
        spec = _anchor(table, where)
        for part in (f"name {spec.name}", f"place {spec.where}"):
            if part in taken:
                raise StudyFileError(f"{where}: its {part} is that of another anchor: want each once")
            taken.add(part)
        specs.append(spec)
    return tuple(specs)


def _anchor(table: Mapping[str, Any], where: str) -> AnchorSpec:
    kind = _string(table, "kind", where)
    if kind not in _ANCHOR_KEYS:
        raise StudyFileError(f"{where}: kind {kind!r:.60}, want one of {', '.join(_ANCHOR_KEYS)}")
    _only(table, {"name", "kind", *_ANCHOR_KEYS[kind]}, where)
    name = _name(table, "name", where)
    if kind == "s3":
        endpoint, prefix = str(table.get("endpoint", "")), str(table.get("prefix", ""))
        if endpoint and not re.fullmatch(r"https?://[^\s/]+/?", endpoint):
            raise StudyFileError(f"{where}: endpoint {endpoint!r:.80}, want http(s)://HOST[:PORT]")
        if not re.fullmatch(r"(?:(?!\.{1,2}/)[A-Za-z0-9._-]+/)*", prefix):
            raise StudyFileError(f"{where}: prefix {prefix!r:.80}, want names that each end with a slash")
        return AnchorSpec(
            name=name,
            kind=kind,
            bucket=_string(table, "bucket", where),
            prefix=prefix,
            region=_string(table, "region", where),
            endpoint=endpoint,
            retain_days=_integer(table, "retain_days", where, None, 36_500),
        )
    path = _string(table, "path", where)
    if not path.startswith("/"):
        raise StudyFileError(f"{where}: path {path!r:.80}, want an absolute one")
    append_only = table.get("append_only", False)
    if not isinstance(append_only, bool):
        raise StudyFileError(f"{where}: append_only {append_only!r:.40}, want true or false")
    return AnchorSpec(name=name, kind=kind, path=path, append_only=append_only)


def _witnesses(value: object, source: str) -> tuple[WitnessSpec, ...]:
    """The witnesses that are not ours: a name, a key and an address once each."""
    if not isinstance(value, list) or len(value) > MAX_OTHER_WITNESSES:
        raise StudyFileError(f"{source}: [[witness]]: want at most {MAX_OTHER_WITNESSES} tables")
    taken: dict[object, str] = {LOCAL_WITNESS: "the local witness", GROUP: "a group", NO_QUORUM: "no quorum"}
    specs = []
    for number, table in enumerate(value, 1):
        where = f"{source} [[witness]] {number}"
        if not isinstance(table, dict):
            raise StudyFileError(f"{where}: want a table")
        _only(table, set(_WITNESS_KEYS), where)
        name, vkey, url = (_string(table, key, where) for key in _WITNESS_KEYS)
        try:
            key = parse_vkey(vkey)
            parse_witness_url(url)
        except ValueError as error:
            raise StudyFileError(f"{where}: {error}") from error
        if key.algorithm != COSIGNATURE:
            raise StudyFileError(
                f"{where}: vkey is a log's or an author's: want a cosignature key, as aar witness vkey prints"
            )
        if key.name != name:
            raise StudyFileError(f"{where}: name is {name!r:.60}, its vkey says {key.name!r:.60}")
        for part in (name, key.public_key, url):
            if part in taken:
                raise StudyFileError(
                    f"{where}: its name, key or url is that of {taken[part]}: want each once"
                )
            taken[part] = f"[[witness]] {number}"
        specs.append(WitnessSpec(name=name, vkey=vkey, url=url))
    return tuple(specs)


def _task(value: object, where: str) -> TaskSpec:
    if not isinstance(value, dict):
        raise StudyFileError(f"{where}: want a table")
    limits = ("tokens", "dollars", "minutes", "sandbox_seconds")
    _only(value, {*_TASK_KEYS, *limits, "step", "scope"}, where)
    workflow = _string(value, "workflow", where)
    if workflow not in WORKFLOWS:
        raise StudyFileError(f"{where}: workflow {workflow!r:.60}, want one of {', '.join(WORKFLOWS)}")
    steps = value.get("step", [])
    if not isinstance(steps, list) or (workflow == "fixed") != bool(steps):
        raise StudyFileError(f"{where}: a fixed workflow has [[task.step]] tables, another one has none")
    if (workflow == "hybrid") != ("scope" in value):
        raise StudyFileError(f"{where}: a hybrid workflow has a [task.scope] table, another one has none")
    risk = value.get("risk", "low")
    if risk not in RISKS:
        raise StudyFileError(f"{where}: risk {risk!r:.60}, want one of {', '.join(RISKS)}")
    spec = TaskSpec(
        task=_name(value, "task", where),
        title=_string(value, "title", where),
        direction=_string(value, "direction", where),
        workflow=workflow,
        submissions=_integer(value, "submissions", where, None, 100_000),
        steps=tuple(_step(step, f"{where} step {number}") for number, step in enumerate(steps, 1)),
        scope=_scope(value["scope"], f"{where} scope") if workflow == "hybrid" else None,
        priority=_integer(value, "priority", where, 0, 9, least=0),
        risk=risk,
        limits=_limits(value, where, limits),
    )
    check_task(spec.as_body(), where)
    return spec


def check_task(body: dict[str, Any], where: str) -> None:
    """Raise `StudyFileError` unless a task can be opened and its steps can be walked as written."""
    from aar.lab.errors import MalformedPipeline
    from aar.lab.pipeline import parse_pipeline_text, pipeline_digest

    try:
        check_body("task-opened", body)
        size_bytes = len(format_canonical(body))
    except FormatError as error:
        raise StudyFileError(f"{where}: {error}") from error
    if size_bytes > MAX_TASK_BYTES:
        raise StudyFileError(
            f"{where}: {size_bytes} bytes, at most {MAX_TASK_BYTES}: split it into two tasks"
        )
    known = sorted(FAMILIES)
    for family in body["scope"].get("families", ()):
        if family not in known:
            raise StudyFileError(f"{where}: there is no family {family!r:.60}; there is: {', '.join(known)}")
    seen: dict[str, str] = {}
    for step in body["steps"]:
        if not step["pipelines"]:
            raise StudyFileError(f"{where}: step {step['name']} has no pipeline: what is to be run?")
        for text in step["pipelines"]:
            try:
                digest = pipeline_digest(parse_pipeline_text(text))
            except MalformedPipeline as error:
                raise StudyFileError(f"{where}: step {step['name']}: {text:.80}: {error}") from error
            if digest in seen:
                raise StudyFileError(
                    f"{where}: step {step['name']}: {text:.80} stands in step {seen[digest]} already; "
                    "the same method gets the same seeds, so once is enough"
                )
            seen[digest] = step["name"]


def _scope(value: object, where: str) -> Scope:
    if not isinstance(value, dict):
        raise StudyFileError(f"{where}: want a table")
    _only(value, {"families", "submissions", "programs"}, where)
    families = value.get("families")
    if not isinstance(families, list) or not all(isinstance(one, str) for one in families):
        raise StudyFileError(f"{where}: families: got {families!r:.60}, want a list of names")
    programs = value.get("programs", False)
    if not isinstance(programs, bool):
        raise StudyFileError(f"{where}: programs {programs!r:.40}, want true or false")
    submissions = _integer(value, "submissions", where, None, 100_000)
    return Scope(families=tuple(families), submissions=submissions, programs=programs)


def _step(value: object, where: str) -> Step:
    if not isinstance(value, dict):
        raise StudyFileError(f"{where}: want a table")
    _only(value, {"name", "what", "pipelines"}, where)
    pipelines = value.get("pipelines")
    if not isinstance(pipelines, list) or not all(isinstance(one, str) for one in pipelines):
        raise StudyFileError(f"{where}: pipelines: got {pipelines!r:.60}, want a list of JSON texts")
    return Step(
        name=_name(value, "name", where), what=_string(value, "what", where), pipelines=tuple(pipelines)
    )


def _only(table: Mapping[str, Any], allowed: set[str], where: str) -> None:
    unknown = sorted(set(table) - allowed)
    if unknown:
        raise StudyFileError(f"{where}: unknown {', '.join(unknown)}; want only {', '.join(sorted(allowed))}")


def _table(document: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value = document.get(key)
    if not isinstance(value, dict):
        raise StudyFileError(f"{where}: no [{key}] table")
    return value


def _string(table: Mapping[str, Any], key: str, where: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value.strip():
        got = "nothing" if value is None else f"{value!r:.60}"
        raise StudyFileError(f"{where}: {key}: got {got}, want a text")
    return value.strip()


def _name(table: Mapping[str, Any], key: str, where: str) -> str:
    value = _string(table, key, where)
    if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", value, re.ASCII):
        raise StudyFileError(f"{where}: {key}: got {value!r:.60}, want letters, digits, '_', '.', '-'")
    return value


def _integer(
    table: Mapping[str, Any], key: str, where: str, default: int | None, most: int, *, least: int = 1
) -> int:
    value = table.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise StudyFileError(f"{where}: {key}: got {value!r:.60}, want a whole number from {least} to {most}")
    return value


def _minutes(value: object, where: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value <= MAX_MINUTES:
        raise StudyFileError(
            f"{where}: got {value!r:.60}, want a number of minutes above 0, at most {MAX_MINUTES}"
        )
    return float(value)


def _toml(value: object) -> str:
    """A TOML value: JSON's spelling of texts, numbers and lists is TOML's too, but for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
