"""Commands of oversight: the signals of a study against its limits, and the review before a deployment."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from aar.cli.config import Pins, config_directory
from aar.cli.failures import CommandFailed
from aar.cli.main import EXIT_NOT_CLEARED, EXIT_OK, EXIT_TAMPERED
from aar.cli.output import complain, say, say_json
from aar.cli.read import pause_lines, read_leaves, verify_with_pins
from aar.cli.safe_text import terminal_safe, typed
from aar.formats.bookmark import parse_bookmark
from aar.formats.checkpoint import parse_checkpoint_text
from aar.formats.errors import FormatError
from aar.formats.keys import parse_skey
from aar.formats.note import parse_note
from aar.lab.problems import PROBLEMS
from aar.outside.gateway.staff_desk import pause_told
from aar.outside.oversight.answers import answers_of
from aar.outside.oversight.examination import examine_plan, examine_study
from aar.outside.oversight.facts import Facts, ReviewerFacts
from aar.outside.oversight.frameworks import NOT_QUOTED, missing_of, quotations_as_json
from aar.outside.oversight.limits import judge_limits
from aar.outside.oversight.markdown import format_memo, format_threshold
from aar.outside.oversight.memo import memo_of
from aar.outside.oversight.signals import signals_of
from aar.outside.oversight.terms import terms_as_body, terms_in
from aar.outside.projection import Projection
from aar.outside.sandbox.doctor import DoctorReport
from aar.outside.sandbox.doctor import doctor as examine_sandbox
from aar.outside.sandbox.interface import DEFAULT_BACKEND
from aar.outside.study_directory import StudyDirectory
from aar.outside.study_file import StudyFile, parse_study


def threshold(options: argparse.Namespace) -> int:
    """`aar threshold`: exit status 6 when a limit asks for a review."""
    study = StudyDirectory(Path(options.dir))
    leaves = read_leaves(study)
    report = verify_with_pins(study)
    if report.verdict != "ok":
        raise CommandFailed(
            f"{study.path}: the record does not hold ({report.verdict}): no signal is told of it; "
            f"./aar verify {typed(study.path)} says more",
            EXIT_TAMPERED,
        )
    projection = Projection.of(leaves)
    terms = terms_in(projection.opened["oversight"])
    study_file = _file_of(study)
    if study_file is not None and terms_as_body(study_file.oversight) != projection.opened["oversight"]:
        complain(f"{study.study_file} says otherwise of oversight than the record: this goes by the record")
    signals = signals_of(leaves, terms.human)
    judged = judge_limits(signals, terms.limits, answers_of(leaves, projection))
    missing = missing_of(leaves)
    if options.json:
        say_json(
            {
                "study": str(study.path),
                "signals": [one.as_json() for one in signals],
                "limits": [one.as_json() for one in judged],
                "paused": projection.paused >= 0,
                "quotations": quotations_as_json(),
                "not_quoted": list(NOT_QUOTED),
                "not_done": [{"says": one.says, "cites": list(one.cites)} for one in missing],
            },
            indent=1,
        )
    else:
        for line in pause_lines(pause_told(projection), study.path):
            say(line)
        say(format_threshold(str(study.path), signals, judged, missing, terminal_safe))
    return EXIT_NOT_CLEARED if any(one.calls_for_review for one in judged) else EXIT_OK


def deployment_review(options: argparse.Namespace) -> int:
    """`aar deployment-review`: exit status 0 go, 6 hold or no-go, 1 a record that was changed."""
    path = Path(options.target)
    if path.is_dir():
        facts = _facts_of_study(StudyDirectory(path))
    elif path.is_file():
        facts = _facts_of_plan(path, options.key)
    else:
        raise CommandFailed(f"{path}: there is no such study and no such study file")
    memo = memo_of(facts)
    if options.json:
        say_json(memo.as_json(), indent=1)
    else:
        say(format_memo(memo, terminal_safe))
    if facts.record is not None and facts.record.report.verdict == "tampered":
        return EXIT_TAMPERED
    return EXIT_OK if memo.verdict == "go" else EXIT_NOT_CLEARED


def _facts_of_study(study: StudyDirectory) -> Facts:
    origin = study.origin
    if not any(study.record.glob("*")):
        raise CommandFailed(
            f"{study.path} was never opened: review its study file, {typed(study.study_file)}, before it is"
        )
    pins = Pins(origin)
    return examine_study(
        study.path,
        _file_of(study),
        subject=str(study.path),
        doctor=_probed(study.path, _file_of(study)),
        verify=lambda anchors: verify_with_pins(study, anchors=anchors),
        policy=pins.policy or study.policy.read_bytes(),
        problems=PROBLEMS,
        now_ms=time.time_ns() // 1_000_000,
        seen_before=_seen_before(pins),
    )


def _facts_of_plan(path: Path, key: str | None) -> Facts:
    plan = _parsed(path)
    return examine_plan(
        plan,
        subject=str(path),
        doctor=_probed(None, plan),
        reviewer=_reviewer(key),
        problems=PROBLEMS,
        now_ms=time.time_ns() // 1_000_000,
    )


def _probed(study: Path | None, file: StudyFile | None) -> DoctorReport:
    """The study's own backend, and where it lies, if this user may plant canaries there."""
    backend = DEFAULT_BACKEND if file is None else file.backend
    place = study if study is not None and os.access(study, os.W_OK) else None
    return examine_sandbox(place, backend=backend)


def _file_of(study: StudyDirectory) -> StudyFile | None:
    return _parsed(study.study_file) if study.study_file.is_file() else None


def _parsed(path: Path) -> StudyFile:
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise CommandFailed(f"{path} is not UTF-8 text: {error}") from error
    return parse_study(text, source=str(path), problems=tuple(PROBLEMS))


def _seen_before(pins: Pins) -> int:
    """How many entries this user had verified before this review."""
    bookmark = pins.bookmark
    if bookmark is None:
        return 0
    return parse_checkpoint_text(parse_note(parse_bookmark(bookmark).checkpoint).text).size


def _reviewer(key: str | None) -> ReviewerFacts | None:
    """Whoever would open the study: the key given, or the user's own. None is made here."""
    path = config_directory() / "reviewer.key" if key is None else Path(key)
    if not path.is_file():
        if key is not None:
            raise CommandFailed(f"--key {path}: there is no such file; a key is one line, PRIVATE+KEY+...")
        return None
    try:
        name = parse_skey(path.read_text("ascii").strip()).name
    except (FormatError, UnicodeDecodeError) as error:
        raise CommandFailed(f"{path} is not a private key: {error}") from error
    is_open = bool(path.stat().st_mode & 0o077)
    trouble = f"others can read {path.name}, and sign with it" if is_open else ""
    return ReviewerFacts(name=name, cite="key reviewer", trouble=trouble)
