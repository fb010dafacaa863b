"""The main job: open a study or go on with it, show it live, close it, verify it, draw it."""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import signal
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from aar.cli.config import reviewer_signer
from aar.cli.failures import CommandFailed
from aar.cli.main import EXIT_INTERRUPTED, EXIT_LEAK, EXIT_NO_BACKEND, EXIT_OK, EXIT_TAMPERED
from aar.cli.output import complain, say, say_json
from aar.cli.picture import Point, draw_pgr_over_time
from aar.cli.read import leaderboard_lines, read_leaves, verify_with_pins
from aar.cli.view import LiveView, PlainView, StudyView, study_view
from aar.formats.entry import Leaf
from aar.lab.problems import PROBLEMS
from aar.outside.control_plane import cpu_s
from aar.outside.projection import Projection
from aar.outside.sandbox.backend import missing_backend
from aar.outside.sandbox.doctor import DoctorReport
from aar.outside.sandbox.doctor import doctor as examine
from aar.outside.study_directory import NotAStudy, StudyDirectory, service_uids
from aar.outside.study_file import StudyFile, StudyFileError, default_study_text, parse_study
from aar.outside.study_run import Moment, StudyRun, StudyStopped
from aar.verify.leaderboard import leaderboard
from aar.verify.report import format_report


def run(options: argparse.Namespace) -> int:
    """`aar run`; returns the exit status."""
    started = time.monotonic()
    signal.signal(signal.SIGTERM, _as_interrupt)
    study_file = _study_file(options)
    study = StudyDirectory(Path(options.dir) if options.dir else _new_directory(study_file))
    if study.path.is_dir() and study.is_study:
        _check_same_study(study, study_file, options)
        study_file = _stored_study_file(study)
    reviewer = reviewer_signer(options.key)
    study.create(study_file.text, service_uids())
    study.lock()
    # Nothing is recorded before the sandbox has proved itself: a study that may leak is not opened.
    before_s = cpu_s(resource.RUSAGE_CHILDREN)
    report = examine_or_explain(study.path, quiet=options.json)
    doctor_s = cpu_s(resource.RUSAGE_CHILDREN) - before_s
    view = _view(options)
    study_run = StudyRun(study, study_file, reviewer=reviewer, doctor=report, on_moment=view.show)
    if study_run.is_closed:
        complain(f"{study.path} is closed: nothing to run; here is what it found")
    else:
        if not options.json:
            say(
                f"study {study_file.name} in {study.path}: {len(study_file.tasks)} tasks, "
                f"budget {study_file.submissions} submissions"
            )
        try:
            with view:
                study_run.run()
        except StudyStopped:
            complain(f"stopped in order; ./aar run --dir {study.path} goes on")
            return EXIT_INTERRUPTED
    return _finish(study, study_run, options, started, doctor_s)


def _as_interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _study_file(options: argparse.Namespace) -> StudyFile:
    problems = tuple(PROBLEMS)
    if options.study is None:
        study_file = parse_study(default_study_text(), source="the embedded study", problems=problems)
    else:
        path = Path(options.study)
        if not path.is_file():
            raise CommandFailed(f"{options.study}: there is no such study file")
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError as error:
            raise CommandFailed(f"{options.study} is not UTF-8 text: {error}") from error
        study_file = parse_study(text, source=options.study, problems=problems)
    if options.researchers is not None:
        study_file = study_file.with_researchers(options.researchers)
    if options.minutes is not None:
        study_file = study_file.with_minutes(options.minutes)
    return study_file.as_written()


def _stored_study_file(study: StudyDirectory) -> StudyFile:
    try:
        text = study.study_file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotAStudy(f"{study.study_file} cannot be read: {error}") from error
    return parse_study(text, source=str(study.study_file), problems=tuple(PROBLEMS))


def _check_same_study(study: StudyDirectory, study_file: StudyFile, options: argparse.Namespace) -> None:
    """A study's terms are in its record: a second `run` goes on with them, it does not change them."""
    changed = options.study is not None or options.researchers is not None or options.minutes is not None
    if changed and _stored_study_file(study).text != study_file.text:
        raise StudyFileError(
            f"{study.path} was opened with another study file; go on without STUDY.toml, "
            "--researchers and --minutes, "
            "or name a new --dir"
        )


def _new_directory(study_file: StudyFile) -> Path:
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    base = Path("aar-studies") / f"{study_file.name}-{stamp}"
    path, number = base, 1
    while path.exists():
        number += 1
        path = base.with_name(f"{base.name}-{number}")
    return path


class _QuietView:
    """Shows nothing: standard output belongs to the summary."""

    def update(self, _view: StudyView) -> None:
        """Nothing is shown."""

    def close(self) -> None:
        """Nothing is open."""


class _Shown:
    """The chosen view as a context manager over the moments of a study."""

    def __init__(self, view: LiveView | PlainView | _QuietView) -> None:
        self._view = view

    def __enter__(self) -> _Shown:
        return self

    def __exit__(self, *_error: object) -> None:
        self._view.close()

    def show(self, moment: Moment) -> None:
        self._view.update(
            study_view(moment.status, moment.fleet, elapsed_s=moment.elapsed_s, phase=moment.phase)
        )


def _view(options: argparse.Namespace) -> _Shown:
    if options.json:
        return _Shown(_QuietView())
    return _Shown(LiveView() if sys.stdout.isatty() else PlainView())


def examine_or_explain(study: Path | None, *, quiet: bool) -> DoctorReport:
    """Run the probes; refuse with the reason when there is no backend (3) or something got through (4)."""
    missing = missing_backend()
    if missing is not None:
        raise CommandFailed(f"no sandbox: {missing}", EXIT_NO_BACKEND)
    report = examine(study)
    if report.verdict == "cannot-run":
        raise CommandFailed(f"no sandbox: {report.detail}", EXIT_NO_BACKEND)
    if report.verdict != "ok":
        bad = [probe.name for probe in report.probes if probe.status in ("leak", "unproven")]
        raise CommandFailed(
            f"the sandbox is {report.verdict} ({', '.join(bad)}): no study starts; see ./aar doctor",
            EXIT_LEAK,
        )
    if not quiet:
        say(
            f"sandbox: {report.backend}, {len(report.probes)} probes held "
            f"({report.attestation.get('identity', '')})"
        )
    return report


def doctor(options: argparse.Namespace) -> int:
    """`aar doctor`: the same probes, told one by one."""
    missing = missing_backend()
    if missing is not None:
        raise CommandFailed(f"no sandbox: {missing}", EXIT_NO_BACKEND)
    report = examine(None)
    if options.json:
        say_json(dataclasses.asdict(report), indent=1)
    else:
        for probe in report.probes:
            say(f"  {probe.status:<9} {probe.area:<12} {probe.name:<34} {probe.detail}")
        say(f"{report.verdict}: {report.backend}, {len(report.probes)} probes")
    return {"ok": EXIT_OK, "cannot-run": EXIT_NO_BACKEND}.get(report.verdict, EXIT_LEAK)


def _finish(
    study: StudyDirectory,
    study_run: StudyRun,
    options: argparse.Namespace,
    started: float,
    doctor_s: float,
) -> int:
    leaves = read_leaves(study)
    projection = Projection.of(leaves)
    report = verify_with_pins(study)
    # No number is told of a record that does not hold.
    rows = leaderboard(leaves) if report.verdict == "ok" else []
    table = leaderboard_lines(rows, 12) if report.verdict == "ok" else format_report(report).split("\n")
    draw_pgr_over_time(
        picture_points(leaves, projection),
        study.path / "pgr.svg",
        study.path / "pgr.png",
        title=f"{projection.opened['name']}: PGR over time",
    )
    # Everything outside the sandboxes, start-up included: this process, the services, the doctor's probes.
    control_s = cpu_s(resource.RUSAGE_SELF) + study_run.plane.services_cpu_s + doctor_s
    sandboxes_s = study_run.plane.sandboxes_cpu_s
    best = rows[0].as_json() if rows else {}
    summary = {
        "study": str(study.path),
        "seconds": round(time.monotonic() - started, 1),
        "researchers": len(projection.researchers),
        "submissions": len(projection.submissions),
        "entries": projection.tree_size,
        "control_plane_cpu_share": round(control_s / (control_s + sandboxes_s), 4),
        "control_plane_cpu_s": round(control_s, 2),
        "sandboxes_cpu_s": round(sandboxes_s, 2),
        "best": {key: best.get(key) for key in ("method", "researcher", "explored_pgr", "heldout_pgr")},
        "verdict": report.verdict,
        "pictures": [str(study.path / "pgr.svg"), str(study.path / "pgr.png")],
    }
    (study.path / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", "utf-8")
    if options.json:
        say_json(summary)
    else:
        _say_end(study, summary, table)
    return EXIT_OK if report.verdict == "ok" else EXIT_TAMPERED


def _say_end(study: StudyDirectory, summary: Mapping[str, Any], table: list[str]) -> None:
    say()
    for line in table:
        say(line)
    say()
    say(
        f"{summary['submissions']} official runs, {summary['entries']} entries in {summary['seconds']} s; "
        f"control plane {summary['control_plane_cpu_s']} of "
        f"{summary['control_plane_cpu_s'] + summary['sandboxes_cpu_s']:.1f} CPU-s "
        f"({summary['control_plane_cpu_share']:.1%})"
    )
    say(f"verify: {summary['verdict']}")
    say(f"picture: {summary['pictures'][1]}")
    say(f"study:   {study.path}")
    say("next:")
    say(f"  ./aar verify {_shown(study.path)}")
    say(f"  ./aar review {_shown(study.path)}")


def _shown(path: Path) -> str:
    """The path as short as it can be typed from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def picture_points(leaves: list[Leaf], projection: Projection) -> list[Point]:
    """One point per scored official run: when, by whom, what was released, and the held-out value if open."""
    start_ms = leaves[0].received_ms
    points = []
    for index, receipt in projection.receipts.items():
        if receipt["tier"] != "explore" or not receipt["released"]:
            continue
        released = receipt["released"]
        sealed = projection.revealed.get((index, "sealed"))
        public = projection.revealed.get((index, "public"))
        points.append(
            Point(
                minutes=(receipt["received_ms"] - start_ms) / 60_000,
                researcher=receipt["researcher"],
                released=float(released["pgr"]),
                low=float(released["low"]),
                high=float(released["high"]),
                improved=bool(released["improved"]),
                exact=float(public["pgr"]) if public else None,
                heldout=float(sealed["pgr"]) if sealed else None,
            )
        )
    return points
