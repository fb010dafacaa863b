"""`aar budget`: what a study, its researchers and tasks used, have left, use an hour; sets their limits."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from aar.cli.failures import CommandFailed
from aar.cli.gate import enrolled_signer, gateway_of
from aar.cli.limits import limits_given
from aar.cli.main import EXIT_OK
from aar.cli.output import say, say_json
from aar.cli.read import read_leaves
from aar.cli.safe_text import terminal_safe
from aar.cli.text_table import table_lines
from aar.formats.kinds import MONITOR
from aar.outside.budgets import told_of_use
from aar.outside.control_plane import attach
from aar.outside.gateway.staff_desk import summary
from aar.outside.projection import Projection
from aar.outside.study_directory import StudyDirectory
from aar.verify.spending import STUDY, Limit, Spending, Spent, format_dollars

HOUR_S = 3600
UNITS = {
    "tokens": "tokens",
    "dollars": "dollars",
    "seconds": "seconds",
    "sandbox_seconds": "CPU-s of sandboxes",
    "submissions": "submissions",
}
TIMED = ("seconds", "sandbox_seconds", "submissions")
# Below this, what was spent in an hour is a guess from nothing.
LEAST_S = 1.0


def budget(options: argparse.Namespace) -> int:
    """Show the account of a study, live when it runs; or set a limit."""
    study = StudyDirectory(Path(options.dir))
    projection = Projection.of(read_leaves(study))
    if options.action == "set":
        return _set(study, projection, options)
    if options.researcher is not None:
        raise CommandFailed("budget shows all researchers; only `budget DIR set RESEARCHER` takes a name")
    running = attach(study)
    status = summary(projection, now_ms=projection.last_received_ms)
    status["use"] = told_of_use(projection, projection.last_received_ms)
    if running is not None:
        status = running.get("/v1/status")
    told = account(projection.spending, status, sandbox_s=_sandbox_s(study))
    if options.json:
        say_json(told, indent=1)
    else:
        for line in account_lines(told):
            say(line)
    return EXIT_OK


def account(spending: Spending, status: Mapping[str, Any], *, sandbox_s: float | None) -> dict[str, Any]:
    """The account as JSON values: per researcher, per task and of the study. Dollars are decimals.

    `status`: of the gateway, with what no entry has yet, or of the record alone. `sandbox_s`: processor
    seconds of all sandboxes, official runs among them, until the study was last stopped, if it ever was.
    """
    budgets, live = status["budgets"], status.get("spending", {})
    hours = Fraction(str(budgets["seconds"]["used"])) / HOUR_S if budgets["seconds"] else Fraction()
    use, rows = status["use"], []
    for told in status["researchers"]:
        name = told["researcher"]
        row: dict[str, Any] = {"researcher": name, "submissions": told["submissions"], "model": ""}
        stopped = status["stopped"].get(name)
        used = dict(use["researchers"][name])
        row["stop"] = "stopped" if stopped else live.get(name, {}).get("stop", "") or used.pop("stop")
        row["used"] = {one: {**used[one], "per_hour": _rate(used[one]["used"], hours)} for one in TIMED}
        if name in spending.models:
            spent = _spent(live[name]) if name in live else spending.spent[name]
            row |= {"model": spending.models[name]["model"], "calls": spent.calls}
            row |= _spent_of(spent, spending.limits[name], hours)
        rows.append(row)
    of_study: dict[str, Any] = {
        name: {**one, "left": max(round(one["budget"] - one["used"], 1), 0)}
        for name, one in budgets.items()
        if one
    }
    for name in ("submissions", "confirmations"):
        if name in of_study:
            of_study[name]["per_hour"] = _rate(of_study[name]["used"], hours)
    sandboxes = use["sandbox_seconds"]
    of_study["sandbox_seconds"] = {**sandboxes, "per_hour": _rate(sandboxes["used"], hours)}
    if STUDY in spending.limits:
        spent = _spent(live[STUDY]) if STUDY in live else spending.spent_of(STUDY)
        of_study |= _spent_of(spent, spending.limits[STUDY], hours)
        of_study["calls"] = spent.calls
    monitor: dict[str, Any] = {}
    if MONITOR in spending.models:
        told = status.get("monitor") or spending.spent[MONITOR].as_body()
        monitor = {"model": spending.models[MONITOR]["model"], "calls": told["calls"]}
        monitor |= _spent_of(_spent(told), spending.limits[MONITOR], hours)
        monitor["stop"] = spending.reached(MONITOR)
    return {
        "study": status["study"],
        "monitor": monitor,
        "is_live": "heard_ms" in status,
        "researchers": rows,
        "tasks": {name: _task_row(one) for name, one in use["tasks"].items()},
        "in_all": of_study,
        "sandbox_cpu_s": sandbox_s,
    }


def account_lines(told: Mapping[str, Any]) -> list[str]:
    """The account as a table, with what it cannot know said under it."""
    head = ["researcher", "model", "calls", "tokens", "of", "left", "an hour"]
    head += ["dollars", "of", "left", "an hour", "submissions", ""]
    rows = []
    for one in told["researchers"]:
        spent = _cells(one) if one["model"] else ["-"] * 9
        rows.append([one["researcher"], one["model"] or "(scripted)", *spent])
        rows[-1] += [str(one["submissions"]), f"stopped: {one['stop']}" if one["stop"] else ""]
    in_all = told["in_all"]
    submissions = in_all.get("submissions", {})
    of_study = _cells(in_all) if "tokens" in in_all else ["-"] * 9
    rows.append(["all", "", *of_study, f"{submissions.get('used', 0)} of {submissions.get('budget', 0)}", ""])
    if told["monitor"]:
        one = told["monitor"]
        stop = f"stopped: {one['stop']}" if one["stop"] else ""
        rows.append(["monitor", one["model"], *_cells(one), "-", stop])
    lines = [*table_lines(head, rows, left=2), "", *_use_lines(told), "", *_task_lines(told)]
    lines.append("")
    for name in ("submissions", "confirmations", "seconds"):
        if name in in_all:
            one = in_all[name]
            rate = f", {one['per_hour']} an hour" if one.get("per_hour") is not None else ""
            lines.append(f"{name}: {one['used']} of {one['budget']} used, {one['left']} left{rate}")
    if told["sandbox_cpu_s"] is not None:
        lines.append(
            f"sandboxes: {told['sandbox_cpu_s']:.1f} CPU-s with official runs, until it was last stopped"
        )
    if not told["is_live"] and "tokens" in in_all:
        lines.append("from the record: of a study that runs, what no entry has yet is counted too")
    return [terminal_safe(one) for one in lines]


def _use_lines(told: Mapping[str, Any]) -> list[str]:
    """What each researcher used of what any may be limited in: minutes, its own sandboxes, submissions."""
    head = ["researcher", "minutes", "of", "left", "sandbox CPU-s", "of", "left", "an hour"]
    head += ["submissions", "of", "left"]
    rows = []
    for one in told["researchers"]:
        used = one["used"]
        row = [*_minutes_cells(used["seconds"]), *_row_cells(used["sandbox_seconds"])]
        row += [_cell(used["sandbox_seconds"]["per_hour"]), *_row_cells(used["submissions"])]
        rows.append([one["researcher"], *row])
    in_all = told["in_all"]
    sandboxes = in_all["sandbox_seconds"]
    rows.append(["all", "-", "-", "-", *_row_cells(sandboxes), _cell(sandboxes["per_hour"]), "-", "-", "-"])
    return table_lines(head, rows)


def _task_lines(told: Mapping[str, Any]) -> list[str]:
    """What was used on each task, by all who worked on it."""
    head = ["task", "state"]
    for what in ("tokens", "dollars", "minutes", "sandbox CPU-s", "submissions"):
        head += [what, "of", "left"]
    rows = []
    for name, one in told["tasks"].items():
        cells = [*_row_cells(one["tokens"]), *_row_cells(one["dollars"]), *_minutes_cells(one["seconds"])]
        cells += [*_row_cells(one["sandbox_seconds"]), *_row_cells(one["submissions"])]
        rows.append([name, one["state"], *cells])
    return table_lines(head, rows, left=2)


def _row_cells(row: Mapping[str, Any]) -> list[str]:
    return [_cell(row[key]) for key in ("used", "limit", "left")]


def _minutes_cells(row: Mapping[str, Any]) -> list[str]:
    values = [row[key] for key in ("used", "limit", "left")]
    return ["-" if value is None else f"{value / 60:.1f}" for value in values]


def _cell(value: object) -> str:
    return "-" if value is None else str(value)


def _rate(used: float, hours: Fraction) -> float | None:
    return round(float(used / hours), 1) if hours * HOUR_S >= LEAST_S else None


def _task_row(told: Mapping[str, Any]) -> dict[str, Any]:
    """A task's use with what an hour of holding it takes."""
    hours = Fraction(str(told["seconds"]["used"])) / HOUR_S
    rated = {
        name: {**told[name], "per_hour": _rate(float(told[name]["used"]), hours)}
        for name in ("tokens", "dollars", "sandbox_seconds", "submissions")
    }
    return {**told, **rated}


def _set(study: StudyDirectory, projection: Projection, options: argparse.Namespace) -> int:
    _check_whose(projection, options)
    limits = limits_given(options, ("tokens", "sandbox_seconds", "submissions"))
    if not limits:
        raise CommandFailed(
            "budget set wants --tokens, --dollars, --minutes, --sandbox-seconds or --submissions"
        )
    researcher, task = options.researcher or STUDY, options.task or ""
    money = [name for name in ("tokens", "dollars") if name in limits]
    if money and not task and researcher not in projection.spending.limits:
        known = ", ".join(projection.spending.models) or "none: no researcher of this study is a model"
        raise CommandFailed(
            f"{researcher or 'the study'} has no limit of tokens and dollars; there is: {known}"
        )
    if not (options.reason or "").strip():
        raise CommandFailed("budget set wants --reason TEXT: the record keeps why")
    if projection.closed:
        raise CommandFailed(f"{study.path} is closed: nothing is spent any more")
    body = {"researcher": researcher, "task": task, "limits": limits, "reason": options.reason}
    signer = enrolled_signer(projection, options.key)
    with gateway_of(study, with_evaluator=False) as gateway:
        ack = gateway.append([signer], "budget-set", body)
    if options.json:
        say_json(ack)
    else:
        is_of_models = len(money) == len(limits)
        everybody = "all models together" if is_of_models else "the study"
        who = f"task {task}" if task else researcher or everybody
        told = " and ".join(f"{value} {UNITS[name]}" for name, value in limits.items())
        say(terminal_safe(f"{who}: at most {told} (entry {ack['index']}, signed by {signer.name})"))
    return EXIT_OK


def _check_whose(projection: Projection, options: argparse.Namespace) -> None:
    """Raise `CommandFailed` unless the options name a researcher or the monitor, a task that is open, or
    neither.
    """
    if options.researcher and options.task:
        raise CommandFailed("budget set takes a RESEARCHER or --task TASK, not both")
    named = [*projection.researchers, *(one for one in projection.spending.models if one == MONITOR)]
    if options.researcher and options.researcher not in named:
        known = ", ".join(named)
        raise CommandFailed(f"there is no researcher {options.researcher}; there is: {known}")
    if options.task is None:
        return
    task = projection.tasks.get(options.task)
    if task is None:
        known = ", ".join(projection.tasks) or "none"
        raise CommandFailed(f"there is no task {options.task}; there is: {known}")
    if task.outcome:
        raise CommandFailed(f"task {options.task} is closed ({task.outcome}): open another with aar task add")


def _spent(told: Mapping[str, Any]) -> Spent:
    return Spent(calls=told["calls"], tokens=told["tokens"], dollars=Fraction(told["dollars"]))


def _spent_of(spent: Spent, limit: Limit, hours: Fraction) -> dict[str, Any]:
    is_known = hours * HOUR_S >= LEAST_S
    return {
        "tokens": {
            "spent": spent.tokens,
            "limit": limit.tokens,
            "left": max(limit.tokens - spent.tokens, 0),
            "per_hour": round(spent.tokens / hours) if is_known else None,
        },
        "dollars": {
            "spent": format_dollars(spent.dollars),
            "limit": format_dollars(limit.dollars),
            "left": format_dollars(max(limit.dollars - spent.dollars, Fraction())),
            "per_hour": f"{float(spent.dollars / hours):.2f}" if is_known else None,
        },
    }


def _cells(row: Mapping[str, Any]) -> list[str]:
    cells = [str(row["calls"])]
    for unit in ("tokens", "dollars"):
        cells += ["-" if value is None else str(value) for value in row[unit].values()]
    return cells


def _sandbox_s(study: StudyDirectory) -> float | None:
    try:
        return float(json.loads((study.operator / "usage.json").read_text("utf-8"))["sandboxes_cpu_s"])
    except (OSError, ValueError, KeyError):
        return None
