"""Researchers that are models, before a study starts: prices, keys and brief looked at, a cost estimated."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from aar.cli.failures import CommandFailed
from aar.cli.output import say
from aar.cli.safe_text import terminal_safe
from aar.cli.text_table import table_lines
from aar.formats.kinds import TOKENS
from aar.outside.keyring import write_durably
from aar.outside.prices import Prices, price_of, read_prices
from aar.outside.providers import environment_for, missing_key
from aar.outside.sandbox.agent_programs import find_agent
from aar.outside.sandbox.spec import SandboxUnavailable
from aar.outside.study_directory import StudyDirectory
from aar.outside.study_file import NO_LIMITS, Limits, StudyFile
from aar.outside.study_programs import researcher_names
from aar.outside.study_run import ModelTerms
from aar.verify.spending import cost, format_dollars

RUNTIME = "inspect_ai"
# What an estimate assumes of a researcher; a study's own `aar budget` says what it came to.
TURNS_PER_TASK = 10
TURNS_PER_SUBMISSION = 8
TOKENS_PER_TURN = {"input": 2_000, "output": 700, "cache_read": 16_000, "cache_write": 2_000}


def model_terms(
    study_file: StudyFile, study: StudyDirectory, opened: Mapping[str, Any], *, is_dry: bool = False
) -> ModelTerms | None:
    """What a study with models needs, or `None` for one without; `CommandFailed` says what is missing.

    An opened study has the prices of its record and its own copy of the brief. Nothing is made here. With
    `is_dry` neither key nor runtime is wanted, for nothing will be asked.
    """
    if not study_file.asked:
        return None
    agents = {}
    for name in study_file.agents:
        try:
            agents[name] = find_agent(name, study_file.agent_programs.get(name, ""))
        except SandboxUnavailable as error:
            raise CommandFailed(str(error)) from error
    known = [*opened.get("models", {}).get("researchers", ()), opened.get("monitor") or {}]
    prices = {one["model"]: one["prices"] for one in known if one}
    if not opened:
        table = read_prices(study_file.prices)
        prices = {model: price_of(model, table) for model in study_file.asked}
    own = Path(study_file.brief) if study_file.brief else None
    brief = _brief(study.brief if study.brief.exists() else own)
    if not is_dry:
        _check_runtime(study_file.asked[0])
        for model in study_file.asked:
            key = missing_key(model, os.environ)
            if key:
                raise CommandFailed(
                    f"model {model} wants a key: put it into the environment as {key}; only the process that "
                    "asks the model gets it, no sandbox does"
                )
    environment = environment_for(study_file.asked, os.environ)
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TZ") if name in os.environ}
    return ModelTerms(
        prices=prices,
        brief=brief,
        environment=environment | kept,
        agents=agents,
        instructions=_instructions(study, study_file),
    )


def keep_brief(study: StudyDirectory, terms: ModelTerms) -> None:
    """Keep the brief and what the monitor is told with the study: it goes on with its own, whatever becomes
    of ours.
    """
    for path, text in ((study.brief, terms.brief), (study.instructions, terms.instructions)):
        if text and not path.exists():
            write_durably(path, text.encode(), mode=0o644)


def dry_run(study_file: StudyFile, terms: ModelTerms) -> None:
    """Print what the first researcher that is a model would be told and offered, the limits, and a guess."""
    if _team(study_file):
        _say_brief(study_file, terms)
    for agent, program in terms.agents.items():
        say(f"agent {agent}: {terminal_safe(program.path)}, SHA-256 {program.sha256}")
    for line in limit_lines(study_file):
        say(line)
    say()
    names = researcher_names(study_file.researchers)
    for line in estimate_lines(study_file, terms.prices, scripted=len(names) - len(_team(study_file))):
        say(line)


def _say_brief(study_file: StudyFile, terms: ModelTerms) -> None:
    from aar.inside.tools import TOOLS
    from aar.llm.brief import render

    name, _spec = _team(study_file)[0]
    say("brief, as the first of them would read it:")
    say()
    for line in render(terms.brief, study=_study_told(study_file, name), task=_task_told(study_file)).split(
        "\n"
    ):
        say("    " + terminal_safe(line))
    say("tools:")
    say()
    for tool in TOOLS:
        say(f"    {tool.name:<16} " + terminal_safe(tool.description.split(". ")[0].split("\n")[0]))
    say("    bash, python and a text editor, in its sandbox; an agent brings its own in their place")
    say()


def limit_lines(study_file: StudyFile) -> list[str]:
    """The limits of each model, of all together, and whatever else is limited of a researcher or a task."""
    rows = [
        [name, one.model, str(one.tokens), format_dollars(one.dollars)] for name, one in _team(study_file)
    ]
    if rows:
        rows.append(["all", "", str(study_file.tokens), format_dollars(study_file.dollars)])
    if study_file.monitor is not None:
        one = study_file.monitor
        rows.append(["monitor, beside them", one.model, str(one.tokens), format_dollars(one.dollars)])
    lines = table_lines(["limits of", "model", "tokens", "dollars"], rows, left=2)
    runs = f"{study_file.submissions} submissions, {study_file.confirmations} confirmations"
    if study_file.sandbox_seconds:
        runs += f", {study_file.sandbox_seconds} CPU-s of sandboxes"
    names = researcher_names(study_file.researchers)
    told = [(name, one.limits) for name, one in zip(names, study_file.team, strict=False)]
    told += [(f"task {one.task}", one.limits) for one in study_file.tasks]
    return [
        *lines,
        f"of all researchers: {runs}, {study_file.minutes:g} minutes",
        *(f"of {who}: {limits_told(one)}" for who, one in told if one != NO_LIMITS),
    ]


def limits_told(limits: Limits) -> str:
    """Limits in words."""
    told = []
    if limits.tokens:
        told.append(f"{limits.tokens} tokens")
    if limits.dollars is not None:
        told.append(f"{format_dollars(limits.dollars)} dollars")
    if limits.minutes:
        told.append(f"{limits.minutes:g} minutes")
    if limits.sandbox_seconds:
        told.append(f"{limits.sandbox_seconds} CPU-s of sandboxes")
    if limits.submissions:
        told.append(f"{limits.submissions} submissions")
    return ", ".join(told)


def estimate_lines(study_file: StudyFile, prices: Mapping[str, Prices], *, scripted: int) -> list[str]:
    """What the study is expected to spend, and what that assumes; its limits bound it in any case."""
    team = _team(study_file)
    monitor = study_file.monitor
    beside = []
    if monitor is not None:
        beside = [f"the monitor: at most {format_dollars(monitor.dollars)} dollars more, for what it reads"]
    if not team:
        return beside
    turns = TURNS_PER_TASK * len(study_file.tasks) + TURNS_PER_SUBMISSION * study_file.submissions
    each = Fraction(turns, len(team) + scripted)
    spend = sum(
        (min(each * cost(prices[one.model], TOKENS_PER_TURN), one.dollars) for _name, one in team), Fraction()
    )
    spend = min(spend, study_file.dollars)
    tokens = min(int(each * len(team) * sum(TOKENS_PER_TURN.values())), study_file.tokens)
    used = ", ".join(f"{TOKENS_PER_TURN[one]} {one.replace('_', ' ')}" for one in TOKENS)
    most = format_dollars(study_file.dollars)
    shared = f"{TURNS_PER_TASK} turns for each task and {TURNS_PER_SUBMISSION} for each submission"
    return [
        f"expected: about {float(spend):.2f} dollars and {tokens} tokens; at most {most} dollars",
        f"assumed: {shared}, shared evenly; a turn takes {used} tokens",
        *beside,
        "that is a guess: aar budget DIR says what it comes to",
    ]


def _team(study_file: StudyFile) -> list[tuple[str, Any]]:
    names = researcher_names(study_file.researchers)
    return [(name, one) for name, one in zip(names, study_file.team, strict=False) if one.model]


def _brief(path: Path | None) -> str:
    from aar.llm.brief import BriefError, read_template

    try:
        return read_template(path)
    except BriefError as error:
        raise CommandFailed(str(error)) from error


def _instructions(study: StudyDirectory, study_file: StudyFile) -> str:
    """What the monitor is told: the study's own copy, or ours; nothing without a monitor that is a model."""
    from aar.llm.monitor_words import INSTRUCTIONS

    if study_file.monitor is None:
        return ""
    try:
        return (study.instructions if study.instructions.exists() else INSTRUCTIONS).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"what the monitor is told cannot be read: {error}") from error


def _check_runtime(model: str) -> None:
    if find_spec(RUNTIME) is None:
        raise CommandFailed(
            f"{model} is asked through Inspect AI, which is not installed: pip install 'aar[llm]'; in a "
            "checkout ./aar run --model installs it"
        )


def _study_told(study_file: StudyFile, name: str) -> dict[str, Any]:
    """What the gateway would tell of the study before anything happened (`GET /v1/study`)."""
    return {
        "study": study_file.name,
        "researcher": name,
        "statement": f"(what problem {study_file.problem} is, as the study states it)",
        "budget": {
            "submissions_left": study_file.submissions,
            "confirmations_left": study_file.confirmations,
        },
        "now_ms": 0,
        "deadline_ms": int(study_file.minutes * 60_000),
    }


def _task_told(study_file: StudyFile) -> dict[str, Any]:
    """The first task, as the gateway would tell of it."""
    body = study_file.tasks[0].as_body()
    steps = [{**step, "pipelines": [json.loads(one) for one in step["pipelines"]]} for step in body["steps"]]
    directions = study_file.directions
    return {
        **body,
        "direction": directions[0] if directions else body["direction"],
        "steps": steps,
        "submissions_left": body["submissions"],
    }
