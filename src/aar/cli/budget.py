"""`aar budget`: what a study and each of its models spent, has left and spends in an hour; limits are set."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from aar.cli.failures import CommandFailed
from aar.cli.gate import enrolled_signer, gateway_of
from aar.cli.main import EXIT_OK
from aar.cli.output import say, say_json
from aar.cli.read import read_leaves
from aar.cli.safe_text import terminal_safe
from aar.cli.text_table import table_lines
from aar.formats.kinds import MONITOR
from aar.outside.control_plane import attach
from aar.outside.gateway.staff_desk import summary
from aar.outside.projection import Projection
from aar.outside.study_directory import StudyDirectory
from aar.outside.study_file import dollars_of
from aar.verify.spending import STUDY, Limit, Spending, Spent, format_dollars

HOUR_S = 3600
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
    """The account as JSON values: per researcher that is a model, and of the study. Dollars are decimals.

    `status`: of the gateway, with calls that no entry has yet, or of the record alone. `sandbox_s`: processor
    seconds of all sandboxes until the study was last stopped, if it ever was.
    """
    budgets, live = status["budgets"], status.get("spending", {})
    hours = Fraction(str(budgets["seconds"]["used"])) / HOUR_S if budgets["seconds"] else Fraction()
    rows = []
    for told in status["researchers"]:
        name = told["researcher"]
        row: dict[str, Any] = {"researcher": name, "submissions": told["submissions"], "model": ""}
        stopped = status["stopped"].get(name)
        row["stop"] = "stopped" if stopped else live.get(name, {}).get("stop", "")
        if name in spending.models:
            spent = _spent(live[name]) if name in live else spending.spent[name]
            row |= {"model": spending.models[name]["model"], "calls": spent.calls}
            row |= _spent_of(spent, spending.limits[name], hours)
            row["stop"] = row["stop"] or spending.reached(name)
        rows.append(row)
    of_study: dict[str, Any] = {
        name: {**one, "left": round(one["budget"] - one["used"], 1)} for name, one in budgets.items() if one
    }
    is_known = hours * HOUR_S >= LEAST_S
    for name in ("submissions", "confirmations"):
        if name in of_study:
            of_study[name]["per_hour"] = round(float(of_study[name]["used"] / hours), 1) if is_known else None
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
        "is_live": bool(live),
        "researchers": rows,
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
    lines = table_lines(head, rows, left=2)
    for name in ("submissions", "confirmations", "seconds"):
        if name in in_all:
            one = in_all[name]
            rate = f", {one['per_hour']} an hour" if one.get("per_hour") is not None else ""
            lines.append(f"{name}: {one['used']} of {one['budget']} used, {one['left']} left{rate}")
    if told["sandbox_cpu_s"] is not None:
        lines.append(f"sandboxes: {told['sandbox_cpu_s']:.1f} CPU-s until the study was last stopped")
    if not told["is_live"] and "tokens" in in_all:
        lines.append("from the record: of a study that runs, calls that no entry has yet are counted too")
    return [terminal_safe(one) for one in lines]


def _set(study: StudyDirectory, projection: Projection, options: argparse.Namespace) -> int:
    spending = projection.spending
    name = options.researcher or STUDY
    if name not in spending.limits:
        known = ", ".join(spending.models) or "none: no researcher of this study is a model"
        raise CommandFailed(f"{name or 'the study'} has no limit of tokens and dollars; there is: {known}")
    if options.tokens is None and options.dollars is None:
        raise CommandFailed("budget set wants --tokens N or --dollars D, or both")
    if not (options.reason or "").strip():
        raise CommandFailed("budget set wants --reason TEXT: the record keeps why")
    if projection.closed:
        raise CommandFailed(f"{study.path} is closed: nothing is spent any more")
    limit = spending.limits[name]
    if options.tokens is not None and options.tokens < 1:
        raise CommandFailed(f"--tokens {options.tokens}: want at least 1; aar stop ends a researcher")
    try:
        dollars = limit.dollars if options.dollars is None else dollars_of(options.dollars)
    except ValueError as error:
        raise CommandFailed(f"--dollars: {error}") from error
    limits = {
        "tokens": limit.tokens if options.tokens is None else options.tokens,
        "dollars": format_dollars(dollars),
    }
    body: dict[str, Any] = {"researcher": name, "task": "", "limits": limits, "reason": options.reason}
    signer = enrolled_signer(projection, options.key)
    with gateway_of(study, with_evaluator=False) as gateway:
        ack = gateway.append([signer], "budget-set", body)
    if options.json:
        say_json(ack)
    else:
        who = name or "all models together"
        say(
            terminal_safe(
                f"{who}: at most {limits['tokens']} tokens and {limits['dollars']} dollars "
                f"(entry {ack['index']}, signed by {signer.name})"
            )
        )
    return EXIT_OK


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
