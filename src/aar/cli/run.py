"""The main job: open a study or go on with it, show it live, close it, verify it, draw it."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from aar.cli.config import reviewer_signer
from aar.cli.failures import CommandFailed
from aar.cli.main import (
    EXIT_BAD_INPUT,
    EXIT_CUT_OFF,
    EXIT_INTERRUPTED,
    EXIT_LEAK,
    EXIT_NO_BACKEND,
    EXIT_OK,
    EXIT_TAMPERED,
)
from aar.cli.models import dry_run, keep_brief, model_terms
from aar.cli.opened_values import comparison_lines, comparisons_of
from aar.cli.output import complain, leave_output, say, say_json
from aar.cli.picture import Point, draw_pgr_over_time
from aar.cli.read import (
    check_shapes,
    detectable_lines,
    held_lines,
    isolation_lines,
    leaderboard_lines,
    names_of,
    poll_leaves,
    verify_with_pins,
)
from aar.cli.safe_text import terminal_safe, typed
from aar.cli.view import LiveView, PlainView, StudyView, study_view
from aar.formats.entry import Leaf
from aar.formats.keys import Signer
from aar.formats.kinds import MONITOR, isolation_of
from aar.lab.problems import STUDY_PROBLEMS
from aar.outside.control_plane import cpu_s
from aar.outside.gateway.staff_desk import holds_told
from aar.outside.keyring import write_durably
from aar.outside.projection import Projection
from aar.outside.sandbox.bare import BANNER
from aar.outside.sandbox.choice import missing_backend
from aar.outside.sandbox.doctor import DoctorReport, without_sandbox
from aar.outside.sandbox.doctor import doctor as examine
from aar.outside.sandbox.interface import BARE, DEFAULT_BACKEND
from aar.outside.sandbox.runtime import shared_with_sandboxes
from aar.outside.sandbox.spec import SandboxUnavailable
from aar.outside.study_data import DataUnusable, keep_data, read_data
from aar.outside.study_directory import NotAStudy, StudyDirectory, service_uids
from aar.outside.study_file import StudyFile, StudyFileError, default_study_text, dollars_of, parse_study
from aar.outside.study_programs import keep_programs, kept_programs, read_programs
from aar.outside.study_run import (
    ModelTerms,
    Moment,
    StudyRun,
    StudyStopped,
    read_projection,
    refuse_when_all_stopped,
)
from aar.verify.leaderboard import Row, leaderboard
from aar.verify.reader import NotARecord
from aar.verify.report import Report, format_report
from aar.verify.spending import STUDY, format_dollars

# Of the default study, when its researchers are models: they think where the scripted one only computes.
MODEL_MINUTES = 60.0


def run(options: argparse.Namespace) -> int:
    """`aar run`; returns the exit status."""
    started = time.monotonic()
    signal.signal(signal.SIGTERM, _as_interrupt)
    if options.dir is not None and not options.dir:
        raise CommandFailed("--dir '': want the name of a directory")
    study_file = _study_file(options)
    study = StudyDirectory(Path(options.dir) if options.dir else new_directory(study_file.name))
    is_old = study.path.is_dir() and study.is_study
    if is_old:
        study_file = _same_study(study, study_file, options)
    if not is_old:
        _check_apart(study.path)
    # Before anything is made: a data set that cannot be read makes no study.
    data = {}
    if is_old:
        with contextlib.suppress(NotARecord):
            check_shapes(study, poll_leaves(study))
    opened = read_projection(study).opened if is_old else {}
    is_opened = bool(opened)
    backend = _backend_of(study, study_file, opened, options)
    if backend == BARE and study_file.data:
        raise CommandFailed(
            "--backend bare opens no labels, and the study file names a data set that has them (data = ...): "
            "run it in a sandbox, or debug the program on one of our problems"
        )
    if backend == BARE and study_file.models:
        raise CommandFailed(
            f"--backend bare runs programs that you wrote, and {study_file.models[0]} would have a shell "
            "with your rights: run it in a sandbox"
        )
    if backend == BARE and study_file.monitor is not None:
        raise CommandFailed(
            "--backend bare is for debugging one's own program: it has no monitor that is a model"
        )
    if study_file.data and not is_opened:
        data = read_data(Path(study_file.data))
    # An opened study has its own copies; who names the study file again means the same programs.
    programs = {} if is_opened and options.study is None else read_programs(study_file)
    terms = model_terms(study_file, study, _opened(study) if is_opened else {}, is_dry=options.dry_run)
    if options.dry_run:
        return _dry_run(study_file, terms)
    reviewer = reviewer_signer(options.key)
    try:
        study.create(study_file.text, service_uids())
        study.lock()
        if terms is not None:
            keep_brief(study, terms)
        keep_programs(study.programs, programs)
        kept = kept_programs(study.programs)
        if any(kept[name] != text for name, text in programs.items()):
            raise StudyFileError(
                f"a [[researcher]] program is not the one that {study.path} was opened with: put it back, "
                "go on without the study file (the study keeps a copy), or name a new --dir"
            )
        return _run_locked(study, study_file, reviewer, options, started, data, terms, backend)
    except (StudyStopped, KeyboardInterrupt) as error:
        if str(error):
            complain(
                f"{error}: ./aar resume {typed(study.path)} RESEARCHER --reason TEXT lets one go on, then "
                f"./aar run --dir {typed(study.path)}"
            )
            return EXIT_CUT_OFF
        # A directory half made is finished by the next run, once it holds the study's text.
        is_kept = study.study_file.exists()
        where = f"./aar run --dir {typed(study.path)} goes on" if is_kept else "nothing was begun"
        complain(f"stopped in order; {where}")
        return EXIT_INTERRUPTED


def _dry_run(study_file: StudyFile, terms: ModelTerms | None) -> int:
    if terms is None:
        raise CommandFailed("--dry-run tells of researchers that are models: there is none, see --model")
    dry_run(study_file, terms)
    return EXIT_OK


def _opened(study: StudyDirectory) -> Mapping[str, Any]:
    return read_projection(study).opened


def _run_locked(
    study: StudyDirectory,
    study_file: StudyFile,
    reviewer: Signer,
    options: argparse.Namespace,
    started: float,
    data: Mapping[str, bytes],
    terms: ModelTerms | None,
    backend: str,
) -> int:
    before = read_projection(study)
    if before.closed:
        complain(f"{study.path} is closed: nothing to run; here is what it found")
        return _show_closed(study, options)
    stops = {name: before.pauses[stop] for name, stop in before.stops.items()}
    refuse_when_all_stopped(stops, before.researchers)
    if data:
        keep_data(study.data, data, service_uids().evaluator)
    elif study_file.data and options.study is not None:
        _check_same_data(study, Path(study_file.data))
    # Nothing is recorded before the sandbox has proved itself: a study that may leak is not opened.
    before_s = cpu_s(resource.RUSAGE_CHILDREN)
    has_shell = bool(study_file.models)
    agents = {name: one.path for name, one in terms.agents.items()} if terms is not None else {}
    report = examine_or_explain(
        study.path, quiet=options.json, backend=backend, has_shell=has_shell, agents=agents
    )
    doctor_s = cpu_s(resource.RUSAGE_CHILDREN) - before_s
    view = _view(options)
    if not options.json and backend != BARE:
        view.announce(lambda told: detectable_lines(told["detectable_difference"], study_file.seeds))
    study_run = StudyRun(
        study,
        study_file,
        reviewer=reviewer,
        doctor=report,
        on_moment=view.show,
        on_warning=complain,
        models=terms,
    )
    if not options.json:
        view.say(
            f"study {study_file.name} in {study.path}: {len(study_file.tasks)} tasks, "
            f"budget {study_file.submissions} submissions"
        )
        if study_file.data:
            view.say(
                f"data set from {terminal_safe(study_file.data)}: it is read, and its gap measured, first"
            )
    try:
        with view:
            study_run.run()
    finally:
        usage = _add_usage(study, study_run, started, doctor_s)
    return _finish(study, usage, options)


def _as_interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _study_file(options: argparse.Namespace) -> StudyFile:
    if options.study is None:
        text = default_study_text()
        study_file = parse_study(text, source="the embedded study", problems=STUDY_PROBLEMS)
    else:
        path = Path(options.study)
        if not path.is_file():
            raise CommandFailed(f"{options.study}: there is no such study file")
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError as error:
            raise CommandFailed(f"{options.study} is not UTF-8 text: {error}") from error
        study_file = parse_study(text, source=options.study, problems=STUDY_PROBLEMS)
        study_file = study_file.with_data_from(path.parent).with_programs_from(path.parent)
        study_file = study_file.with_llm_files_from(path.parent)
    if options.researchers is not None:
        study_file = study_file.with_researchers(options.researchers)
    if options.minutes is not None:
        study_file = study_file.with_minutes(options.minutes)
    elif options.model is not None and options.study is None:
        study_file = study_file.with_minutes(MODEL_MINUTES)
    study_file = study_file.with_backend(options.backend or study_file.backend)
    return _with_models(study_file, options).as_written()


def _with_models(study_file: StudyFile, options: argparse.Namespace) -> StudyFile:
    """The same study with what the options say of models."""
    if options.model is not None:
        study_file = study_file.with_model(options.model)
    if options.agent_binary is not None and options.agent is None:
        raise CommandFailed("--agent-binary names the program of an agent: say which, with --agent")
    if options.agent is not None:
        program = str(Path(options.agent_binary).absolute()) if options.agent_binary else ""
        study_file = study_file.with_agent(options.agent, program)
    if options.prices is not None:
        study_file = dataclasses.replace(study_file, prices=str(Path(options.prices).absolute()))
    if options.monitor is not None:
        study_file = study_file.with_monitor(options.monitor)
    if options.tokens is None and options.dollars is None:
        return study_file
    if not study_file.models:
        raise CommandFailed("--tokens and --dollars are for researchers that are models: the study has none")
    if options.tokens is not None and options.tokens < 1:
        raise CommandFailed(f"--tokens {options.tokens}: want at least 1")
    try:
        dollars = study_file.dollars if options.dollars is None else dollars_of(options.dollars)
    except ValueError as error:
        raise CommandFailed(f"--dollars: {error}") from error
    return study_file.with_budget(options.tokens or study_file.tokens, dollars)


def _check_apart(path: Path) -> None:
    """Raise `CommandFailed` where a new study would lie in what sandboxes read, or in another study."""
    where = Path(os.path.realpath(path))
    try:
        shared = shared_with_sandboxes(where)
    except SandboxUnavailable as error:
        raise CommandFailed(f"no sandbox: {error}", EXIT_NO_BACKEND) from error
    if shared is not None:
        raise CommandFailed(
            f"--dir {path}: every sandbox reads {shared}, and with it this study's labels and keys: name a "
            "directory apart from aar, its Python and its packages",
            EXIT_NO_BACKEND,
        )
    for parent in where.parents:
        if StudyDirectory(parent).is_study:
            raise CommandFailed(
                f"--dir {path}: {parent} is a study, and this one would lie among its files: name a "
                "directory that is in no study",
                EXIT_NO_BACKEND,
            )


def _backend_of(
    study: StudyDirectory, study_file: StudyFile, opened: Mapping[str, Any], options: argparse.Namespace
) -> str:
    """The backend that was asked for, which for an opened study is the one that it was opened with."""
    if not opened:
        return str(options.backend or study_file.backend)
    backend = str(opened["sandbox"]["backend"])
    if options.backend not in (None, backend):
        raise StudyFileError(
            f"{study.path} was opened with backend {backend} and goes on with that one only, not with "
            f"{options.backend}: leave --backend out, or name a new --dir"
        )
    if backend == BARE and options.backend is None:
        raise StudyFileError(
            f"{study.path} was opened without a sandbox: say --backend bare again, or name a new --dir"
        )
    return backend


def stored_study_file(study: StudyDirectory) -> StudyFile:
    """The study file that a study keeps; raises `NotAStudy` and `StudyFileError`."""
    try:
        text = study.study_file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotAStudy(f"{study.study_file} cannot be read: {error}") from error
    return parse_study(text, source=str(study.study_file), problems=STUDY_PROBLEMS)


def _same_study(study: StudyDirectory, study_file: StudyFile, options: argparse.Namespace) -> StudyFile:
    """A study's terms are in its record: a second `run` goes on with them, it does not change them."""
    stored = stored_study_file(study)
    changed = [
        f"--{name} {given}, it has {has}"
        for name, given, has in (
            ("researchers", options.researchers, stored.researchers),
            ("minutes", options.minutes, stored.minutes),
            ("model", options.model, ", ".join(stored.models) or "none"),
            ("agent", options.agent, ", ".join(stored.agents) or "none"),
            ("monitor", options.monitor, "none" if stored.monitor is None else stored.monitor.model),
            ("tokens", options.tokens, stored.tokens),
            ("dollars", options.dollars, format_dollars(stored.dollars)),
        )
        if given is not None and given != has
    ]
    given = study_file.with_backend(stored.backend)
    kept = stored
    if options.agent_binary is not None:
        # The same program may lie elsewhere by now; that it is the same, its digest in the record says.
        kept = dataclasses.replace(
            stored,
            agent_programs={
                **stored.agent_programs,
                options.agent: study_file.agent_programs[options.agent],
            },
        )
        given = dataclasses.replace(given, agent_programs=stored.agent_programs)
    if options.study is not None and stored.text != given.as_written().text:
        changed.append(f"another study file, {options.study}")
    if changed:
        raise StudyFileError(
            f"{study.path} was opened on other terms ({'; '.join(changed)}); go on without them, "
            "or name a new --dir"
        )
    return kept


def _check_same_data(study: StudyDirectory, directory: Path) -> None:
    """Who names the study file again means the data that it names: those that the study was opened with."""
    if read_data(directory) != read_data(study.data):
        raise DataUnusable(
            f"{directory} has other data than {study.path} was opened with; put them back, go on without the "
            "study file (the study keeps a copy of its data), or name a new --dir"
        )


def new_directory(name: str) -> Path:
    """Where what is called `name` goes when nobody said where: a path that nothing has yet."""
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    base = Path("aar-studies") / f"{name}-{stamp}"
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
        self._announced: Callable[[Mapping[str, Any]], list[str]] | None = None

    def announce(self, lines: Callable[[Mapping[str, Any]], list[str]]) -> None:
        """Say these before the first moment is shown, from its status: before anything has run."""
        self._announced = lines

    def __enter__(self) -> _Shown:
        return self

    def __exit__(self, *_error: object) -> None:
        self._view.close()

    def show(self, moment: Moment) -> None:
        if self._announced is not None:
            for line in self._announced(moment.status):
                self.say(line)
            self._announced = None
        shown = study_view(moment.status, moment.fleet, elapsed_s=moment.elapsed_s, phase=moment.phase)
        self._or_go_on_unseen(lambda: self._view.update(shown))

    def say(self, text: str) -> None:
        self._or_go_on_unseen(lambda: say(text))

    def _or_go_on_unseen(self, tell: Callable[[], None]) -> None:
        """A reader who leaves (`| head`) does not end a study: it runs on, and says so where errors go."""
        try:
            tell()
        except BrokenPipeError:
            leave_output()
            self._view = _QuietView()
            complain("nobody reads the output any more; the study runs on")


def _view(options: argparse.Namespace) -> _Shown:
    if options.json:
        return _Shown(_QuietView())
    return _Shown(LiveView() if sys.stdout.isatty() else PlainView())


def examine_or_explain(
    study: Path | None,
    *,
    quiet: bool,
    backend: str = DEFAULT_BACKEND,
    has_shell: bool = False,
    agents: Mapping[str, str] | None = None,
) -> DoctorReport:
    """Run the probes; refuse with the reason when there is no backend (3) or something got through (4).

    `has_shell`: against the view of researchers that are models, which holds all that the others' does.
    `agents`: with the first of these in it, host paths by name.
    """
    missing = missing_backend(backend)
    if missing is not None:
        raise CommandFailed(f"no sandbox: {missing}", EXIT_NO_BACKEND)
    if backend == BARE:
        complain(BANNER)
        return without_sandbox()
    report = examine(study, backend=backend, has_shell=has_shell, agents=agents)
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
    if options.backend == BARE:
        raise CommandFailed(
            "backend bare is no sandbox: there is nothing to probe, and everything gets through"
        )
    missing = missing_backend(options.backend)
    if missing is not None:
        raise CommandFailed(f"no sandbox: {missing}", EXIT_NO_BACKEND)
    report = examine(None, bombs=True, backend=options.backend, has_shell=options.shell)
    if options.json:
        say_json(dataclasses.asdict(report), indent=1)
    else:
        for probe in report.probes:
            say(f"  {probe.status:<9} {probe.area:<17} {probe.name:<34} {probe.detail}")
        for name, text in report.limits.items():
            say(f"  limit     {name:<17} {text}")
        say(f"{report.verdict}: {report.backend}, {len(report.probes)} probes {report.detail}".rstrip())
    return {"ok": EXIT_OK, "cannot-run": EXIT_NO_BACKEND}.get(report.verdict, EXIT_LEAK)


def _add_usage(
    study: StudyDirectory, study_run: StudyRun, started: float, doctor_s: float
) -> dict[str, float]:
    """What the study took so far, this process and those before it: kept where the next one finds it."""
    plane = study_run.plane
    # Everything outside the sandboxes, start-up included: this process, the services, the doctor's probes.
    used = {
        "seconds": time.monotonic() - started,
        "control_plane_cpu_s": cpu_s(resource.RUSAGE_SELF) + plane.services_cpu_s + doctor_s,
        "sandboxes_cpu_s": plane.sandboxes_cpu_s,
    }
    path = study.operator / "usage.json"
    if path.exists():
        before = json.loads(path.read_text("utf-8"))
        used = {name: value + float(before[name]) for name, value in used.items()}
    write_durably(path, json.dumps(used).encode(), mode=0o600)
    return used


def _finish(study: StudyDirectory, usage: Mapping[str, float], options: argparse.Namespace) -> int:
    began_s = cpu_s(resource.RUSAGE_SELF)
    began = time.monotonic()
    report = verify_with_pins(study)
    if report.verdict != "ok":
        return _say_tampered(study, report, options)
    leaves = poll_leaves(study)
    projection = Projection.of(leaves)
    rows = leaderboard(leaves)
    if not options.no_picture:
        _draw(study, leaves, projection)
    control_s = usage["control_plane_cpu_s"] + cpu_s(resource.RUSAGE_SELF) - began_s
    sandboxes_s = usage["sandboxes_cpu_s"]
    best = rows[0].as_json() if rows else {}
    summary = {
        "study": str(study.path),
        "seconds": round(usage["seconds"] + time.monotonic() - began, 1),
        "researchers": len(projection.researchers),
        "submissions": len(projection.submissions),
        "entries": projection.tree_size,
        "control_plane_cpu_share": round(control_s / (control_s + sandboxes_s), 4),
        "control_plane_cpu_s": round(control_s, 2),
        "sandboxes_cpu_s": round(sandboxes_s, 2),
        "detectable_difference": projection.detectable_difference,
        "best": {key: best.get(key) for key in ("method", "researcher", "explored_pgr", "heldout_pgr")},
        "verdict": report.verdict,
        **({"isolation": isolation} if (isolation := isolation_of(projection.opened)) else {}),
        "pictures": _pictures(study),
    }
    spending = projection.spending
    if spending.researchers:
        summary |= {"models": spending.spent_of(STUDY).as_body()}
    if MONITOR in spending.models:
        readings = sum(who == MONITOR for who, _name in spending.transcripts)
        summary |= {"monitor": {"readings": readings, **spending.spent[MONITOR].as_body()}}
    write_durably(study.path / "summary.json", json.dumps(summary, indent=1).encode() + b"\n", mode=0o644)
    if options.json:
        say_json(summary)
    else:
        _say_end(study, summary, projection, rows)
    return EXIT_OK


def _show_closed(study: StudyDirectory, options: argparse.Namespace) -> int:
    """A closed study is verified again and shown as it was measured when it ran."""
    path = study.path / "summary.json"
    if not path.exists():
        # Closed, and cut off before its end was told: what was measured until then is all there is.
        kept = study.operator / "usage.json"
        nothing = {"seconds": 0.0, "control_plane_cpu_s": 0.0, "sandboxes_cpu_s": 0.0}
        return _finish(study, json.loads(kept.read_text("utf-8")) if kept.exists() else nothing, options)
    report = verify_with_pins(study)
    if report.verdict != "ok":
        return _say_tampered(study, report, options)
    leaves = poll_leaves(study)
    projection = Projection.of(leaves)
    if not options.no_picture and not _pictures(study):
        _draw(study, leaves, projection)
    summary = {**json.loads(path.read_text("utf-8")), "study": str(study.path), "pictures": _pictures(study)}
    if options.json:
        say_json(summary)
    else:
        _say_end(study, summary, projection, leaderboard(leaves))
    return EXIT_OK


def _draw(study: StudyDirectory, leaves: list[Leaf], projection: Projection) -> None:
    draw_pgr_over_time(
        picture_points(leaves, projection),
        study.path / "pgr.svg",
        study.path / "pgr.png",
        title=f"{projection.opened['name']}: PGR over time"
        + (" (NO ISOLATION: nothing is scored)" if isolation_of(projection.opened) else ""),
    )


def _pictures(study: StudyDirectory) -> list[str]:
    """Those that were drawn: none with --no-picture."""
    return [str(path) for path in (study.path / "pgr.svg", study.path / "pgr.png") if path.exists()]


def _say_tampered(study: StudyDirectory, report: Report, options: argparse.Namespace) -> int:
    """No number is told, drawn or written of a record that does not hold."""
    if options.json:
        say_json(
            {"study": str(study.path), "verdict": report.verdict, "findings": report.as_json()["findings"]}
        )
    else:
        say(format_report(report))
    return EXIT_TAMPERED if report.verdict == "tampered" else EXIT_BAD_INPUT


def _say_end(
    study: StudyDirectory, summary: Mapping[str, Any], projection: Projection, rows: list[Row]
) -> None:
    for task in projection.tasks.values():
        if task.outcome == "failed":
            complain(f"task {task.name} failed: {terminal_safe(task.reason)}")
    for line in isolation_lines(poll_leaves(study)):
        complain(line)
    say()
    for line in leaderboard_lines(rows, 12):
        say(line)
    for line in comparison_lines(names_of(rows), comparisons_of(study.record, projection)):
        say(line)
    say()
    say(
        f"{summary['submissions']} official runs, {summary['entries']} entries in {summary['seconds']} s; "
        f"control plane {summary['control_plane_cpu_s']} of "
        f"{summary['control_plane_cpu_s'] + summary['sandboxes_cpu_s']:.1f} CPU-s "
        f"({summary['control_plane_cpu_share']:.1%})"
    )
    if "models" in summary:
        spent = summary["models"]
        say(f"models: {spent['calls']} calls, {spent['tokens']} tokens, {spent['dollars']} dollars")
    if "monitor" in summary:
        spent = summary["monitor"]
        cost = f"{spent['calls']} calls, {spent['tokens']} tokens, {spent['dollars']} dollars"
        say(f"monitor: {spent['readings']} readings, {cost}")
    for line in held_lines(holds_told(projection), study.path):
        say(line)
    say(f"verify: {summary['verdict']}")
    if summary["pictures"]:
        say(f"picture: {summary['pictures'][-1]}")
    say(f"study:   {study.path}")
    say("next:")
    say(f"  ./aar verify {typed(study.path)}")
    say(f"  ./aar review {typed(study.path)}")


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
                heldout_span=(float(sealed["low"]), float(sealed["high"])) if sealed else None,
            )
        )
    return points
