"""``aar ab``: workflows compared over several problems with real runs, by a plan that is entered first."""

from __future__ import annotations

import argparse
import hashlib
import json
import secrets
import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

from aar.cli.ab_picture import draw_comparison
from aar.cli.config import reviewer_signer
from aar.cli.failures import CommandFailed
from aar.cli.main import EXIT_BAD_INPUT, EXIT_CUT_OFF, EXIT_INTERRUPTED, EXIT_OK, EXIT_TAMPERED
from aar.cli.output import complain, leave_output, say, say_json
from aar.cli.read import verify_with_pins
from aar.cli.run import examine_or_explain, new_directory, stored_study_file
from aar.cli.safe_text import terminal_safe, typed
from aar.formats.errors import FormatError
from aar.lab.problems import PROBLEMS, STUDY_PROBLEMS
from aar.outside.comparison.arms import budget_of, studies_of
from aar.outside.comparison.directory import ComparisonDirectory
from aar.outside.comparison.plan import (
    NO_STOP,
    Budget,
    Plan,
    PlanError,
    differences,
    format_plan,
    stop_rule_looks,
)
from aar.outside.comparison.report import Ended, report_json, report_markdown
from aar.outside.comparison.run_check import RunUnjudged, RunUnusable
from aar.outside.comparison.runner import Means, Step, plan_kept, run_all
from aar.outside.control_plane import ServiceEnded
from aar.outside.keyring import write_durably
from aar.outside.staff_client import GatewayGone
from aar.outside.study_file import StudyFile, parse_study
from aar.outside.study_run import StudyStopped

Studies = Mapping[tuple[str, str], StudyFile]
TEMPLATE = "comparison.toml"
DEFAULT_PROBLEMS = ("claims", "digits", "overlap")
DEFAULT_ARMS = ("fixed", "free")
DEFAULT_REPEATS = 5
DEFAULT_MARGIN = "0.05"
DEFAULT_SEED = 1


def ab(options: argparse.Namespace) -> int:
    """`aar ab`; returns the exit status."""
    signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        return _ab(options)
    except PlanError as error:
        raise CommandFailed(str(error)) from error
    except FormatError as error:
        raise CommandFailed(f"this cannot be a comparison: {error}") from error


def _ab(options: argparse.Namespace) -> int:
    if options.dir is not None and not options.dir:
        raise CommandFailed("--dir '': want the name of a directory")
    directory = ComparisonDirectory(Path(options.dir) if options.dir else new_directory("ab"))
    is_old = directory.is_comparison
    try:
        if is_old:
            directory.lock()
            plan = _kept_plan(directory, options)
        else:
            if options.study is None and directory.path.is_dir() and any(directory.path.iterdir()):
                raise CommandFailed(f"nothing was begun in {directory.path}: name the study file, too")
            directory.check_new()
            studies, plan = _new_plan(options, _template(options.study), None)
            reviewer_signer(options.key)
            directory.lock()
            directory.create(plan, studies)
        return _run(directory, plan, options)
    except RunUnusable as error:
        complain(f"{error}; the comparison stops here, and no number is told of it")
        return EXIT_BAD_INPUT if isinstance(error, RunUnjudged) else EXIT_TAMPERED
    except (ServiceEnded, GatewayGone) as error:
        refused = isinstance(error, ServiceEnded) and (error.is_refusal or error.is_disk_full)
        raise CommandFailed(
            f"{error}; ./aar ab --dir {typed(directory.path)} goes on where the record says",
            EXIT_BAD_INPUT if refused else EXIT_CUT_OFF,
        ) from error
    except (StudyStopped, KeyboardInterrupt):
        complain(f"stopped in order; ./aar ab --dir {typed(directory.path)} goes on")
        return EXIT_INTERRUPTED


def _run(directory: ComparisonDirectory, plan: Plan, options: argparse.Namespace) -> int:
    progress = _Progress(plan, is_quiet=options.json)
    progress.begin(directory)
    means = Means(
        reviewer=reviewer_signer(options.key),
        examine=lambda study: examine_or_explain(
            study.path, quiet=options.json, backend=stored_study_file(study).backend
        ),
        verify=verify_with_pins,
        on_step=progress.step,
        on_warning=complain,
    )
    ended = run_all(directory, plan, means)
    told = report_json(ended)
    _write(directory, ended, told)
    if options.json:
        say_json(told, indent=1)
    else:
        _say_end(directory, ended, told)
    return EXIT_OK


def _as_interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


# The plan: of the command line, or of the record.


def _kept_plan(directory: ComparisonDirectory, options: argparse.Namespace) -> Plan:
    """The plan that was entered first; refused when the command line says otherwise."""
    kept = plan_kept(directory, verify_with_pins)
    if kept is None:
        raise CommandFailed(f"{directory.path} has no plan; name a new --dir")
    if options.study is not None:
        _studies, wanted = _new_plan(options, _template(options.study), kept)
    else:
        wanted = _with_options(options, kept)
    changed = differences(kept, wanted)
    if changed:
        raise CommandFailed(
            f"{directory.path} was begun with another plan ({'; '.join(changed)}), and that one is in the "
            "record; go on without it, or name a new --dir"
        )
    return kept


def _new_plan(options: argparse.Namespace, template: StudyFile, kept: Plan | None) -> tuple[Studies, Plan]:
    """What the command line asks for; what it leaves open is as in the kept plan, or the default."""
    arms = _list(options.arms, kept.arms if kept else DEFAULT_ARMS)
    problems = _list(options.problems, kept.problems if kept else DEFAULT_PROBLEMS)
    for name in problems:
        if name not in PROBLEMS:
            raise CommandFailed(f"--problems {name}: want some of {', '.join(PROBLEMS)}")
    researchers, minutes = options.researchers, options.minutes
    if kept is not None:
        researchers = kept.budget.researchers if researchers is None else researchers
        minutes = kept.budget.seconds / 60 if minutes is None else minutes
    if researchers is not None:
        template = replace(template, researchers=template.with_researchers(researchers).researchers)
    if minutes is not None:
        template = template.with_minutes(minutes)
    studies = studies_of(template, _template(None), problems, arms)
    first = studies[problems[0], arms[0]]
    plan = Plan(
        nonce=kept.nonce if kept else secrets.token_hex(8),
        arms=arms,
        problems=problems,
        repeats=_or(options.repeats, kept.repeats if kept else DEFAULT_REPEATS),
        seed=_or(options.seed, kept.seed if kept else DEFAULT_SEED),
        budget=budget_of(first),
        margin=_margin(options.margin, kept.margin if kept else DEFAULT_MARGIN),
        looks=stop_rule_looks(_or(options.stop_rule, kept.stop_rule if kept else NO_STOP)),
        files={pair: hashlib.sha256(study.text.encode()).hexdigest() for pair, study in studies.items()},
    )
    format_plan(plan)
    return studies, plan


def _with_options(options: argparse.Namespace, kept: Plan) -> Plan:
    """The kept plan with what the command line says, for comparing the two."""
    budget = kept.budget
    if options.minutes is not None:
        budget = replace(budget, seconds=max(int(options.minutes * 60), 1))
    return replace(
        kept,
        arms=_list(options.arms, kept.arms),
        problems=_list(options.problems, kept.problems),
        repeats=_or(options.repeats, kept.repeats),
        seed=_or(options.seed, kept.seed),
        budget=_with_researchers(budget, options.researchers),
        margin=_margin(options.margin, kept.margin),
        looks=stop_rule_looks(_or(options.stop_rule, kept.stop_rule)),
    )


def _with_researchers(budget: Budget, researchers: int | None) -> Budget:
    return budget if researchers is None else replace(budget, researchers=researchers)


def _template(name: str | None) -> StudyFile:
    if name is None:
        text = resources.files("aar.outside.studies").joinpath(TEMPLATE).read_text("utf-8")
        return parse_study(text, source="the embedded comparison", problems=STUDY_PROBLEMS)
    path = Path(name)
    if not path.is_file():
        raise CommandFailed(f"{name}: there is no such study file")
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise CommandFailed(f"{name} is not UTF-8 text: {error}") from error
    return parse_study(text, source=name, problems=STUDY_PROBLEMS)


def _list(text: str | None, default: tuple[str, ...]) -> tuple[str, ...]:
    return default if text is None else tuple(one.strip() for one in text.split(","))


def _margin(value: float | None, default: str) -> str:
    if value is None:
        return default
    if not 0 < value <= 1:
        raise CommandFailed(f"--margin {value}: want a PGR above 0, at most 1")
    return f"{value:.4f}".rstrip("0").ljust(4, "0")


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


# What is told.


class _Progress:
    """A line when a run begins and when it is over; no value is told before the plan says so."""

    def __init__(self, plan: Plan, *, is_quiet: bool) -> None:
        self._plan = plan
        self._is_quiet = is_quiet
        self._began = time.monotonic()
        self._took: list[float] = []

    def begin(self, directory: ComparisonDirectory) -> None:
        plan = self._plan
        self._say(
            f"comparison in {directory.path}: {' against '.join(plan.arms)} on {', '.join(plan.problems)}, "
            f"{plan.repeats} repeats, {plan.runs} runs of {plan.budget.submissions} submissions"
        )
        self._say(f"plan {plan.digest[:16]}..., seed {plan.seed}, stop rule {plan.stop_rule}")

    def step(self, step: Step) -> None:
        run, outcome = step.run, step.outcome
        where = f"run {run.number} of {self._plan.runs}"
        if outcome is None:
            self._say(f"{where}: {run.arm} on {run.problem}, repeat {run.repeat}{self._expected(run.number)}")
        elif step.seconds == 0:
            self._say(f"{where}: finished before, verify ok")
        else:
            self._took.append(step.seconds)
            self._say(
                f"{where}: {outcome.reason} in {step.seconds:.0f} s, {outcome.submissions} submissions, "
                f"{outcome.entries} entries, verify ok"
            )

    def _expected(self, number: int) -> str:
        """Elapsed time and when it will be over, once a run has told how long one takes."""
        elapsed = (time.monotonic() - self._began) / 60
        if not self._took:
            return ""
        left_s = (self._plan.runs - number + 1) * sum(self._took) / len(self._took)
        end = datetime.now().astimezone() + timedelta(seconds=left_s)
        return f"; {elapsed:.1f} min so far, about {left_s / 60:.1f} to go, until {end:%H:%M}"

    def _say(self, text: str) -> None:
        if self._is_quiet:
            return
        try:
            say(text)
        except BrokenPipeError:
            # A reader who leaves (`| head`) does not end a comparison.
            leave_output()
            self._is_quiet = True
            complain("nobody reads the output any more; the comparison runs on")


def _write(directory: ComparisonDirectory, ended: Ended, told: Mapping[str, Any]) -> None:
    markdown = report_markdown(ended)
    write_durably(directory.path / "report.md", markdown.encode(), mode=0o644)
    data = json.dumps(told, indent=1, ensure_ascii=False).encode() + b"\n"
    for name in ("svg", "png"):
        draw_comparison(ended, directory.path / f"report.{name}")
    # Last: whoever finds it finds the others.
    write_durably(directory.path / "report.json", data, mode=0o644)


def _say_end(directory: ComparisonDirectory, ended: Ended, told: Mapping[str, Any]) -> None:
    say()
    for row in (*told["comparisons"], *told["overall"]):
        say(terminal_safe(row["says"]))
    say()
    for line in told["answer"]:
        say(terminal_safe(line))
    say(
        f"{told['runs']['done']} of {told['runs']['planned']} runs, {told['runs']['blocks']} whole blocks, "
        f"{ended.looks} looks; every record verified"
    )
    say(f"report: {directory.path / 'report.md'}")
    say(f"picture: {directory.path / 'report.png'}")
