"""Commands that only read: verify, record, forum, leaderboard, status."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aar.cli.config import Pins, parse_policy_file
from aar.cli.failures import CommandFailed
from aar.cli.main import EXIT_BAD_INPUT, EXIT_OK, EXIT_TAMPERED
from aar.cli.opened_values import comparison_lines, comparisons_of
from aar.cli.output import complain, say, say_json
from aar.cli.safe_text import terminal_safe, typed
from aar.formats.bookmark import format_bookmark
from aar.formats.entry import NO_ISOLATION, Leaf
from aar.formats.errors import FormatError
from aar.formats.kinds import KINDS, check_body
from aar.outside.projection import Projection
from aar.outside.study_directory import NotAStudy, StudyDirectory
from aar.verify.evidence import write_evidence
from aar.verify.leaderboard import Row, leaderboard
from aar.verify.reader import NotARecord, RecordReader
from aar.verify.report import Report, cannot_judge, format_report
from aar.verify.study import UNISOLATED, verify_log, verify_new, verify_study


def verify(options: argparse.Namespace) -> int:
    """Check everything; the keys are the given policy's, else the pinned ones, else the study's own."""
    study = StudyDirectory(Path(options.dir))
    if options.evidence is not None and _holds_something(Path(options.evidence)):
        raise CommandFailed(f"--evidence {options.evidence}: it is not empty: name a new directory")
    try:
        receipts = [Path(one).read_bytes() for one in options.receipt]
        anchors = [Path(one) for one in options.anchor]
        if options.incremental and (receipts or anchors or options.max_age is not None):
            raise CommandFailed(
                "--receipt, --anchor and --max-age take a whole verification: leave --incremental out"
            )
        report = verify_with_pins(
            study,
            options.policy,
            receipts,
            anchors,
            max_age_s=options.max_age,
            jobs=options.jobs,
            is_incremental=options.incremental,
        )
    except (NotAStudy, NotARecord, OSError) as error:
        report = cannot_judge(str(error))
    if options.evidence is not None and report.findings:
        _write_evidence(study, report, options)
    if options.json:
        say_json(report.as_json(), indent=1)
    elif report.verdict == "cannot-judge":
        complain(format_report(report))
    else:
        say(format_report(report))
    return {"ok": EXIT_OK, "tampered": EXIT_TAMPERED}.get(report.verdict, EXIT_BAD_INPUT)


def _holds_something(path: Path) -> bool:
    return path.exists() and not (path.is_dir() and not any(path.iterdir()))


def _write_evidence(study: StudyDirectory, report: Report, options: argparse.Namespace) -> None:
    policy = Pins(study.origin).policy if options.policy is None else Path(options.policy).read_bytes()
    try:
        count = write_evidence(
            report, Path(options.evidence), policy if policy is not None else study.policy.read_bytes()
        )
    except OSError as error:
        raise CommandFailed(f"--evidence {options.evidence}: {error.strerror or error}") from error
    where = typed(Path(options.evidence))
    complain(
        f"evidence of {count} findings is in {where}; whoever has the keys checks it alone: "
        f"python -m aar.verify.evidence {where} --policy FILE"
    )


def verify_with_pins(
    study: StudyDirectory,
    policy_file: str | None = None,
    receipts: Sequence[bytes] = (),
    anchors: Sequence[Path] = (),
    *,
    max_age_s: int | None = None,
    jobs: int = 1,
    is_incremental: bool = False,
) -> Report:
    """Verify against what this user saw of the study before; remember what verified.

    Incremental: read only what is new since then, if this user verified the study before.
    """
    pins = Pins(study.origin)
    if policy_file is None:
        policy = pins.policy
    else:
        path = Path(policy_file)
        if not path.is_file():
            raise CommandFailed(f"--policy {policy_file}: there is no such file")
        policy = path.read_bytes()
        log = parse_policy_file(path, policy).log.name
        if log != study.origin:
            return cannot_judge(f"--policy {policy_file} is for log {log}, {study.path} is {study.origin}")
    if not study.record.is_dir() and pins.checkpoints:
        return cannot_judge(f"{study.path} was verified here before, and its record is gone")
    now_ms = time.time_ns() // 1_000_000
    bookmark = pins.bookmark if is_incremental else None
    if bookmark is None:
        report = verify_study(
            study.path,
            policy=policy,
            pins=pins.checkpoints,
            receipts=receipts,
            anchors=anchors,
            now_ms=now_ms,
            max_age_s=max_age_s,
            jobs=jobs,
        )
    else:
        report = verify_new(study.path, bookmark, policy=policy, pins=pins.checkpoints, now_ms=now_ms)
    report = _of_the_marked_log(study, report)
    if report.verdict == "ok" and report.bookmark is not None:
        used = policy if policy is not None else study.policy.read_bytes()
        try:
            pins.remember(
                policy=used,
                checkpoint=report.bookmark.checkpoint,
                bookmark=format_bookmark(report.bookmark),
            )
        except OSError as error:
            report.warnings.append(f"what was seen was not pinned, a later rollback may go unseen: {error}")
    return report


def _of_the_marked_log(study: StudyDirectory, report: Report) -> Report:
    """The report, if it is of the log that the study's marker names: pins are looked up by that name.

    Nobody signs the marker. With another name in it this user would have seen nothing of the study before.
    """
    if report.verdict == "cannot-judge" or report.origin == study.origin:
        return report
    return cannot_judge(
        f"the marker of {study.path} names {study.origin}, the record is of {report.origin}: put it back"
    )


def read_leaves(
    study: StudyDirectory, *, is_tampered_refused: bool = True, are_shapes_checked: bool = True
) -> list[Leaf]:
    """All published entries of a log that holds; raises `NotAStudy`, `NotARecord`, or says what does not.

    Every signature and hash of the log is checked, and the shape of each entry; what the entries claim is
    not: that is `verify`. Where a human decides in spite of it (`is_tampered_refused` false) it is said on
    standard error.
    """
    if not study.path.exists():
        raise CommandFailed(f"{study.path}: there is no such directory")
    if not study.path.is_dir():
        raise CommandFailed(f"{study.path} is not a directory; name a study's")
    policy = Pins(study.origin).policy
    if not any(study.record.glob("*")):
        raise CommandFailed(f"{study.path} was never opened; ./aar run --dir {typed(study.path)} opens it")
    report = _of_the_marked_log(study, verify_log(study.path, policy=policy))
    if report.verdict == "cannot-judge":
        if is_tampered_refused:
            raise CommandFailed(f"{study.path} cannot be read: {report.reason}")
        complain(f"{study.path} was not verified: {report.reason}")
    if report.verdict == "tampered":
        if is_tampered_refused:
            raise CommandFailed(_first_finding(study, report), EXIT_TAMPERED)
        complain(_first_finding(study, report))
    leaves = poll_leaves(study)
    if are_shapes_checked:
        check_shapes(study, leaves)
    for line in isolation_lines(leaves):
        complain(line)
    return leaves


def check_shapes(study: StudyDirectory, leaves: Iterable[Leaf]) -> None:
    """Raise `CommandFailed` for the first entry that this version would not write: nothing folds it."""
    for leaf in leaves:
        try:
            check_body(leaf.signed.entry.kind, leaf.signed.entry.body)
        except FormatError as error:
            raise CommandFailed(
                f"{study.path}: entry {leaf.index} is none that this version of aar writes ({error}); "
                f"use the one that wrote it. ./aar record {typed(study.path)} prints the entries as they are",
                EXIT_TAMPERED,
            ) from error


def isolation_lines(leaves: Sequence[Leaf]) -> list[str]:
    """What everybody is told who looks at a study without sandboxes, before anything else of it."""
    is_bare = bool(leaves) and leaves[0].signed.entry.isolation == NO_ISOLATION
    return [UNISOLATED] if is_bare else []


def poll_leaves(study: StudyDirectory) -> list[Leaf]:
    """All published entries as they are, unchecked: for a command that has just checked them."""
    return list(RecordReader(study.record).entries())


def _first_finding(study: StudyDirectory, report: Report) -> str:
    first = report.findings[0]
    place = f"entry {first.first_index} in " if first.first_index >= 0 else ""
    return (
        f"{study.path}: TAMPERED, the record does not hold ({first.code}: {place}{first.resource}); "
        f"./aar verify {typed(study.path)} says more"
    )


def record(options: argparse.Namespace) -> int:
    """Entries as JSON lines."""
    if options.kind is not None and options.kind not in KINDS:
        raise CommandFailed(f"--kind {options.kind}: there is no such kind; there is: {', '.join(KINDS)}")
    for leaf in read_leaves(StudyDirectory(Path(options.dir)), are_shapes_checked=False):
        entry = leaf.signed.entry
        if options.kind not in (None, entry.kind) or options.author not in (None, entry.author):
            continue
        say_json(
            {
                "index": leaf.index,
                "kind": entry.kind,
                "author": entry.author,
                "at": entry.at,
                "received_ms": leaf.received_ms,
                "refs": list(entry.refs),
                "body": entry.body,
                **({"isolation": entry.isolation} if entry.isolation else {}),
            }
        )
    return EXIT_OK


def forum(options: argparse.Namespace) -> int:
    """Findings as threads: each under the parents it builds on, with comments, votes and decisions."""
    leaves = read_leaves(StudyDirectory(Path(options.dir)))
    projection = Projection.of(leaves)
    by_index = {leaf.index: leaf for leaf in leaves}
    children: dict[int, list[int]] = {}
    roots = []
    for index, finding in projection.findings.items():
        # A finding with several parents is shown under the newest of them and names the others.
        if finding.body["parents"]:
            children.setdefault(max(finding.body["parents"]), []).append(index)
        else:
            roots.append(index)
    todo = [(index, 0) for index in reversed(roots)]
    while todo:
        index, depth = todo.pop()
        _say_finding(projection, by_index, index, depth)
        todo += [(child, depth + 1) for child in reversed(children.get(index, []))]
    if not roots:
        say("no findings yet")
    return EXIT_OK


def _say_finding(projection: Projection, by_index: dict[int, Leaf], index: int, depth: int) -> None:
    finding, pad = projection.findings[index], "    " * min(depth, 8)
    body = finding.body
    mark = {"publish": "  [published]", "retract": "  [RETRACTED]", "refine": "  [to be refined]"}.get(
        finding.decision, ""
    )
    basis = projection.basis_of(finding)
    if basis.lost:
        mark += "  [builds on a retracted finding]"
    if basis.alarms:
        mark += f"  [alarms: {', '.join(f'#{one}' for one in basis.alarms)}]"
    if basis.held:
        mark += "  [HELD for review]"
    votes = sum(finding.votes.values())
    score = f"  PGR {body['numbers']['pgr']}" if body["numbers"] else ""
    head = f"#{index} {body['type']} by {finding.author}{score}{mark}" + (
        f"  votes {votes:+d}" if votes else ""
    )
    say(pad + terminal_safe(head))
    say(pad + "  " + terminal_safe(body["title"]))
    for line in body["text"].split("\n"):
        say(pad + "  " + terminal_safe(line))
    cites = [f"receipt #{one}" for one in body["receipts"]] + [f"builds on #{one}" for one in body["parents"]]
    if cites:
        say(pad + "  " + ", ".join(cites))
    for number in finding.comments:
        entry = by_index[number].signed.entry
        say(pad + f"    #{number} {entry.author}: " + terminal_safe(str(entry.body["text"])))
    say()


def show_leaderboard(options: argparse.Namespace) -> int:
    """Ranks from receipts only, and only of a study that verifies: every number is derived again first."""
    study = StudyDirectory(Path(options.dir))
    leaves = read_leaves(study)
    report = verify_with_pins(study)
    if report.verdict == "tampered":
        raise CommandFailed(_first_finding(study, report), EXIT_TAMPERED)
    rows = leaderboard(leaves)
    found = comparisons_of(study.record, Projection.of(leaves))
    if options.json:
        nothing: dict[str, Any] = {"holm_p": None, "best_of": None}
        say_json(
            [{**row.as_json(), **nothing, **found.get((row.digest, row.researcher), {})} for row in rows],
            indent=1,
        )
    else:
        for line in (*leaderboard_lines(rows), *comparison_lines(names_of(rows), found)):
            say(line)
    return EXIT_OK


def names_of(rows: list[Row]) -> dict[tuple[str, str], str]:
    """The method of each row by its digest and its researcher."""
    return {(row.digest, row.researcher): terminal_safe(row.method) for row in rows}


def leaderboard_lines(rows: list[Row], most: int = 30) -> list[str]:
    """A plain table; the interval is the held-out value's where there is one, else the explored one's."""
    if not rows:
        return ["no receipts yet"]
    head = f"{'':>3} {'explored':>8} {'held-out':>8}  {'95 % interval':<29} {'researcher':<14} "
    lines = [head + f"{'receipts':<10} method"]
    for row in rows[:most]:
        interval = f"{'held-out' if row.heldout_pgr else 'explored'} [{row.low}, {row.high}]"
        lines.append(
            f"{row.rank:>3} {row.explored_pgr or '-':>8} {row.heldout_pgr or '-':>8}  {interval:<29} "
            f"{row.researcher:<14} {','.join(f'#{one}' for one in row.receipts):<10} "
            + terminal_safe(row.method)
            + (f"  ({row.decision})" if row.decision else "")
            + ("  (builds on a retracted finding)" if row.builds_on_retracted else "")
        )
    if len(rows) > most:
        lines.append(f"    and {len(rows) - most} more: leaderboard --json has them all")
    if any(row.heldout_pgr is None for row in rows[:most]):
        lines.append("    - under held-out: still sealed; opened at the end for what a result claims")
    return lines


def detectable_lines(difference: float | None, seeds: int) -> list[str]:
    """What a study of so many seeds per run cannot tell from chance, where anything can be said of it."""
    if difference is None:
        return []
    told = f"with {seeds} seeds a run, differences of PGR to the plain student below about {difference:.2f}"
    return [f"{told} cannot be told from chance (80 % power, 5 % level; an upper guess)"]


def pause_lines(paused: Mapping[str, Any], study: Path) -> list[str]:
    """What a person is told of a pause that holds: by whom, why, and what lifts it."""
    if not paused:
        return []
    return [
        terminal_safe(f"PAUSED since entry {paused['entry']} by {paused['by']}: {paused['reason']}"),
        f"  ./aar resume {typed(study)} --reason TEXT lifts it",
    ]


def stop_lines(stopped: Mapping[str, Mapping[str, Any]], study: Path) -> list[str]:
    """What a person is told of researchers that a human stopped."""
    return [
        terminal_safe(f"{name} STOPPED since entry {one['entry']} by {one['by']}: {one['reason']}")
        + f"\n  ./aar resume {typed(study)} {name} --reason TEXT lifts it"
        for name, one in stopped.items()
    ]


def held_lines(held: Sequence[Mapping[str, Any]], study: Path) -> list[str]:
    """What a person is told of methods that the monitor holds: why, and what lets one go."""
    lines = [
        terminal_safe(
            f"submission #{one['submission']} by {one['researcher']} HELD since entry {one['entry']}"
            f"{' (looked at, it stays)' if one['is_looked_at'] else ''}: {one['reason']:.300}"
        )
        for one in held
    ]
    if lines:
        lines.append(f"  ./aar review {typed(study)} release N --note TEXT lets submission N go")
    return lines


def status(options: argparse.Namespace) -> int:
    """How the study stands, from its published record alone."""
    from aar.outside.gateway.staff_desk import summary

    study = StudyDirectory(Path(options.dir))
    projection = Projection.of(read_leaves(study))
    told = summary(projection, now_ms=projection.last_received_ms)
    if options.json:
        say_json(told, indent=1)
        return EXIT_OK
    say(f"{told['study']}  {told['state']}  {told['origin']}  {told['tree_size']} entries")
    for line in (*pause_lines(told["paused"], study.path), *stop_lines(told["stopped"], study.path)):
        say(line)
    for line in held_lines(told["held"], study.path):
        say(line)
    for task in told["tasks"]:
        say(
            f"  task {task['task']:<8} {task['workflow']:<6} {task['state']:<8} {task['researcher']:<14} "
            f"{task['submissions']}/{task['budget']} submissions  "
            + terminal_safe(task["title"])
            + (f"  ({terminal_safe(task['reason'])})" if task["reason"] else "")
        )
    for proposal in told["proposals"]:
        say(
            f"  proposed #{proposal['index']} by {proposal['author']} ({proposal['state']}): "
            + terminal_safe(proposal["title"])
        )
    for researcher in told["researchers"]:
        say(
            f"  {researcher['researcher']:<14} {researcher['submissions']} submissions, "
            f"{researcher['findings']} findings"
        )
    budgets: dict[str, Any] = told["budgets"]
    for name, budget in budgets.items():
        if budget:
            say(f"  {name}: {budget['used']} of {budget['budget']} used")
    if projection.opened:
        seeds = projection.opened["runs"]["seeds"]
        for line in detectable_lines(told["detectable_difference"], seeds):
            say(f"  {line}")
    if projection.opened and projection.opened["anchors"]:
        places = ", ".join(f"{one['name']} ({one['kind']})" for one in projection.opened["anchors"])
        say(f"  anchors: {places}; {projection.opened['anchors_needed']} needed")
    say(f"  alarms: {len(told['alarms'])}")
    for alarm in told["alarms"]:
        say(f"    #{alarm['index']} {alarm['code']} by {alarm['who']}: " + terminal_safe(alarm["what"]))
    return EXIT_OK
