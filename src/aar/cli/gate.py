"""Commands of the human gate: the task queue and the review of findings, signed by the reviewer's own key."""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aar.cli.config import reviewer_signer
from aar.cli.failures import CommandFailed
from aar.cli.limits import limits_given
from aar.cli.main import EXIT_OK
from aar.cli.output import complain, say, say_json
from aar.cli.read import held_lines, poll_leaves, read_leaves, verify_with_pins
from aar.cli.safe_text import terminal_safe, typed
from aar.formats.keys import Signer
from aar.outside.control_plane import ControlPlane, attach
from aar.outside.projection import Finding, Projection
from aar.outside.review import (
    Evidence,
    decision_body,
    evidence,
    find,
    holds_at,
    reproduce,
    run_heldout,
)
from aar.outside.staff_client import GatewayGone, StaffClient
from aar.outside.study_directory import StudyDirectory, StudyInUse
from aar.outside.study_file import check_task, parse_study
from aar.outside.study_run import parameters_of


@contextlib.contextmanager
def gateway_of(study: StudyDirectory, *, with_evaluator: bool) -> Iterator[StaffClient]:
    """The gateway of a running study, or one started for the length of this command."""
    projection = Projection.of(poll_leaves(study))
    if not projection.opened:
        raise CommandFailed(f"{study.path} was never opened; ./aar run --dir {typed(study.path)} opens it")
    try:
        study.lock()
    except StudyInUse:
        client = attach(study)
        if client is None:
            raise
    else:
        client = None
    if client is not None:
        yield client
        return
    plane = ControlPlane(study, researchers=projection.researchers, parameters=_parameters(study, projection))
    try:
        plane.start(opening=False, with_evaluator=with_evaluator)
        yield plane.control
    except GatewayGone:
        plane.check_soon()
        raise
    finally:
        plane.stop()
        study.unlock()


def _parameters(study: StudyDirectory, projection: Projection) -> Any:
    from aar.lab.problems import STUDY_PROBLEMS

    text = study.study_file.read_text("utf-8")
    return parameters_of(parse_study(text, source=str(study.study_file), problems=STUDY_PROBLEMS), projection)


def enrolled_signer(projection: Projection, key: str | None) -> Signer:
    """The reviewer's signer, if this study knows its key: any other would be refused, and raise an alarm."""
    signer = reviewer_signer(key)
    if projection.opened and projection.keys.get(signer.name) != signer.vkey:
        reviewers = [
            f"{name} (id {projection.keys[name].key_id.hex()})"
            for name, role in projection.roles.items()
            if role == "reviewer"
        ]
        raise CommandFailed(
            f"your key {signer.name} (id {signer.vkey.key_id.hex()}) is not enrolled in this study, whose "
            f"reviewer is {', '.join(reviewers)}: give the right one with --key FILE"
        )
    return signer


def task(options: argparse.Namespace) -> int:
    """The task queue."""
    study = StudyDirectory(Path(options.dir))
    leaves = read_leaves(study)
    projection = Projection.of(leaves)
    if options.action == "list":
        return _list_tasks(projection, as_json=options.json)
    signer = enrolled_signer(projection, options.key)
    if options.action == "add":
        body = _task_body(
            options, options.name or f"task-{len(projection.tasks) + 1}", options.title, options.direction
        )
        with gateway_of(study, with_evaluator=False) as gateway:
            ack = gateway.append([signer], "task-opened", body)
        return _told(options, f"task {body['task']} is open (entry {ack['index']})", ack)
    if options.number is None:
        raise CommandFailed(
            f"task {options.action} wants the index of a proposed task; `task {options.dir} list` shows them"
        )
    proposal = projection.proposals.get(options.number)
    if proposal is None:
        known = ", ".join(map(str, projection.proposals)) or "none"
        raise CommandFailed(f"entry {options.number} is not a proposed task; there is: {known}")
    with gateway_of(study, with_evaluator=False) as gateway:
        if options.action == "refuse":
            if not options.note.strip():
                raise CommandFailed("task refuse wants --note TEXT: the researcher is owed a reason")
            ack = gateway.append(
                [signer],
                "task-refused",
                {"proposal": options.number, "reason": options.note},
                refs=(options.number,),
            )
            return _told(options, f"proposal {options.number} is refused (entry {ack['index']})", ack)
        body = _task_body(
            options,
            options.name or f"task-{options.number}",
            options.title or proposal["title"],
            options.direction or proposal["direction"],
        )
        opened = gateway.append([signer], "task-opened", body, refs=(options.number,))
        ack = gateway.append(
            [signer],
            "task-approved",
            {"proposal": options.number, "task": opened["index"], "reason": options.note},
            refs=(options.number, opened["index"]),
        )
    return _told(
        options, f"proposal {options.number} is open as task {body['task']} (entry {opened['index']})", ack
    )


def _task_body(options: argparse.Namespace, name: str, title: str | None, direction: str) -> dict[str, Any]:
    if not title or not title.strip():
        raise CommandFailed("task add wants --title TEXT")
    if options.submissions < 1:
        raise CommandFailed(f"--submissions {options.submissions}: a task's budget is at least 1")
    steps = []
    for text in options.step:
        step, _equals, pipeline = text.partition("=")
        try:
            json.loads(pipeline)
        except ValueError as error:
            raise CommandFailed(
                f"--step {text!r:.80}: want NAME=PIPELINE with the pipeline as JSON: {error}"
            ) from error
        steps.append({"name": step, "what": f"run {pipeline}"[:2_000], "pipelines": [pipeline]})
    if (options.workflow == "fixed") != bool(steps):
        raise CommandFailed("a fixed workflow wants its steps (--step NAME=PIPELINE), another one has none")
    body = {
        "task": name,
        "title": title.strip(),
        "direction": direction,
        "workflow": options.workflow,
        "steps": steps,
        "scope": _scope(options),
        "submissions": options.submissions,
        "limits": limits_given(options, ("tokens", "sandbox_seconds")),
        "priority": options.priority,
        "risk": options.risk,
    }
    check_task(body, f"task {name}")
    return body


def _scope(options: argparse.Namespace) -> dict[str, Any]:
    """What a hybrid task leaves free; nothing for another workflow."""
    if options.workflow != "hybrid":
        if options.family:
            raise CommandFailed(f"--family is for a hybrid workflow, the task is {options.workflow}")
        return {}
    if not options.family:
        raise CommandFailed(
            "a hybrid workflow wants the families that it leaves free: --family NAME, repeated"
        )
    return {"families": options.family, "programs": 0, "submissions": options.step_submissions}


def _list_tasks(projection: Projection, *, as_json: bool) -> int:
    from aar.outside.gateway.staff_desk import summary

    told = summary(projection, now_ms=projection.last_received_ms)
    if as_json:
        say_json({"tasks": told["tasks"], "proposals": told["proposals"]}, indent=1)
        return EXIT_OK
    for one in told["tasks"]:
        say(
            f"{one['task']:<12} {one['workflow']:<6} {one['state']:<8} {one['researcher']:<14} "
            f"{one['submissions']}/{one['budget']}  "
            + terminal_safe(one["title"])
            + (f"  ({terminal_safe(one['reason'])})" if one["reason"] else "")
        )
    for one in told["proposals"]:
        say(
            f"#{one['index']:<11} proposed by {one['author']}, {one['state']}: " + terminal_safe(one["title"])
        )
        say("             " + terminal_safe(one["direction"]))
    return EXIT_OK


def _told(options: argparse.Namespace, text: str, ack: dict[str, Any]) -> int:
    if options.json:
        say_json(ack)
    else:
        say(text)
    return EXIT_OK


def review(options: argparse.Namespace) -> int:
    """The human gate."""
    from aar.outside.gateway.staff_desk import holds_told

    study = StudyDirectory(Path(options.dir))
    projection = Projection.of(read_leaves(study, is_tampered_refused=False))
    if options.action == "list":
        if not options.json:
            for line in held_lines(holds_told(projection), study.path):
                say(line)
        return _list_findings(projection, as_json=options.json)
    if options.number is None:
        raise CommandFailed(
            f"review {options.action} wants the index of a finding; `review {options.dir}` lists them"
        )
    if options.action == "answer":
        from aar.cli.pause import answer

        return answer(options, study, projection)
    if options.action in ("release", "keep-held"):
        from aar.cli.pause import release

        return release(options, study, projection)
    find(projection, options.number)
    if options.action == "show":
        verdict = verify_with_pins(study).verdict
        return _show(evidence(projection, find(projection, options.number), record_verdict=verdict), options)
    if options.action == "heldout":
        return _heldout(study, find(projection, options.number), options)
    if options.action == "refine" and not options.note.strip():
        raise CommandFailed("review refine wants --note TEXT: what is to be refined")
    signer = enrolled_signer(projection, options.key)
    finding = find(projection, options.number)
    if options.action == "publish":
        _refuse_held(study, projection, finding)
    is_score_to_publish = options.action == "publish" and bool(finding.body["numbers"])
    with gateway_of(study, with_evaluator=is_score_to_publish) as gateway:

        def read() -> Projection:
            return Projection.of(poll_leaves(study))

        if is_score_to_publish:
            complain(_rerun_told(projection, finding))
            projection = reproduce(gateway, read, finding, on_wait=lambda: time.sleep(0.25))
        else:
            projection = read()
        found = evidence(
            projection, find(projection, options.number), record_verdict=verify_with_pins(study).verdict
        )
        if not options.json:
            _show_evidence(found)
        if options.action == "publish" and found.failed and not options.override.strip():
            raise CommandFailed(
                f"not published: the checklist fails on {', '.join(found.failed)}; "
                "to publish all the same say why with --override REASON, and the entry will say so"
            )
        body = decision_body(
            options.action,
            found,
            note=options.note,
            override=options.override if found.failed else "",
            checklist=found.checklist if options.action == "publish" else (),
        )
        ack = gateway.append([signer], "decision", body, refs=(finding.index,))
        descendants = projection.descendants(finding.index)
    if options.json:
        say_json({**ack, **body})
        return EXIT_OK
    say(f"{options.action}: finding {finding.index}, decided by {signer.name} (entry {ack['index']})")
    if options.action == "retract" and descendants:
        say(f"flagged, for they build on it: {', '.join(f'#{one}' for one in descendants)}")
    return EXIT_OK


def _refuse_held(study: StudyDirectory, projection: Projection, finding: Finding) -> None:
    """Raise `CommandFailed` where a finding rests on what is held: no words publish over that."""
    held = holds_at(projection, projection.basis_of(finding).held)
    if held:
        told = ", ".join(f"{one.submission} (entry {one.entry})" for one in held)
        raise CommandFailed(
            f"not published: finding {finding.index} rests on what the monitor holds for review, submission "
            f"{told}; look at it, then ./aar review {typed(study.path)} release {held[0].submission} --note "
            "TEXT lets it go; --override does not"
        )


def _heldout(study: StudyDirectory, finding: Finding, options: argparse.Namespace) -> int:
    with gateway_of(study, with_evaluator=True) as gateway:
        told = run_heldout(
            gateway,
            lambda: Projection.of(poll_leaves(study)),
            finding,
            on_wait=lambda: time.sleep(0.25),
        )
    if options.json:
        numbers = ("pgr", "low", "high", "difference", "difference_low", "difference_high")
        say_json({name: {key: one[key] for key in numbers if one} for name, one in told.items()}, indent=1)
        return EXIT_OK
    for name, one in told.items():
        value = f"PGR {one['pgr']} [{one['low']}, {one['high']}]" if one else "the run gave no score"
        against = f", {one['difference']} above the plain student" if one else ""
        say(f"{name:<12} {value}{against}")
    return EXIT_OK


def _rerun_told(projection: Projection, finding: Finding) -> str:
    receipt = projection.basis_of(finding).receipt
    submission = projection.receipts[receipt]["submission"]
    again = projection.submissions[submission].receipts.get("reproduce")
    if again is not None:
        return (
            f"the method of finding {finding.index} was run again before: its clean re-run is receipt {again}"
        )
    return f"running the method of finding {finding.index} again from its snapshot, with fresh seeds ..."


def _list_findings(projection: Projection, *, as_json: bool) -> int:
    rows = []
    retracted = {index for index, one in projection.findings.items() if one.decision == "retract"}
    flagged = {child for index in retracted for child in projection.descendants(index)}
    for index, finding in projection.findings.items():
        rows.append(
            {
                "finding": index,
                "type": finding.body["type"],
                "author": finding.author,
                "pgr": finding.body["numbers"].get("pgr", ""),
                "decision": finding.decision,
                "builds_on_retracted": index in flagged,
                "alarms": list(projection.basis_of(finding).alarms),
                "held": list(projection.basis_of(finding).held),
                "title": finding.body["title"],
            }
        )
    if as_json:
        say_json(rows, indent=1)
        return EXIT_OK
    for row in rows:
        flag = " (builds on a retracted finding)" if row["builds_on_retracted"] else ""
        if row["alarms"]:
            flag += f" (alarms: {', '.join(f'#{one}' for one in row['alarms'])})"
        flag += " (HELD)" if row["held"] else ""
        say(
            f"#{row['finding']:<5} {row['type']:<10} {row['author']:<14} {row['pgr']:>7}  "
            f"{row['decision'] or 'undecided':<9} " + terminal_safe(row["title"]) + flag
        )
    if not rows:
        say("no findings yet")
    return EXIT_OK


def _show(found: Evidence, options: argparse.Namespace) -> int:
    if options.json:
        say_json(
            {
                "finding": found.finding.index,
                "body": found.finding.body,
                "claimed": found.claimed,
                "reproduced": dict(found.reproduced),
                "sealed": dict(found.sealed),
                "checklist": [check.as_body() for check in found.checklist],
            },
            indent=1,
        )
        return EXIT_OK
    body = found.finding.body
    say(f"#{found.finding.index} {body['type']} by {found.finding.author}: " + terminal_safe(body["title"]))
    for line in body["text"].split("\n"):
        say("  " + terminal_safe(line))
    _show_evidence(found)
    return EXIT_OK


def _show_evidence(found: Evidence) -> None:
    def value(numbers: Any) -> str:
        return f"{numbers['pgr']} [{numbers['low']}, {numbers['high']}]" if numbers else "-"

    say(
        f"  claimed {found.claimed or '-'}   reproduced {value(found.reproduced)}   "
        f"sealed {value(found.sealed)}"
    )
    for check in found.checklist:
        say(f"  {check.outcome:<15} {check.item:<24} {terminal_safe(check.detail)}")
