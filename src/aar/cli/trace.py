"""The trace command: what a researcher that is a model was told, said and did, and whether it is recorded."""

from __future__ import annotations

import argparse
import hashlib
import json
import stat
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from aar.cli.failures import CommandFailed
from aar.cli.main import EXIT_OK, EXIT_TAMPERED
from aar.cli.output import complain, say, say_json
from aar.cli.read import read_leaves
from aar.cli.safe_text import terminal_safe
from aar.formats.kinds import MONITOR
from aar.outside.projection import Projection
from aar.outside.study_directory import StudyDirectory


def trace(options: argparse.Namespace) -> int:
    """Show a researcher's transcripts: in Inspect View, as text, or as JSON."""
    study = StudyDirectory(Path(options.dir))
    projection = Projection.of(read_leaves(study))
    names = sorted(projection.spending.models)
    if options.researcher not in names:
        told = f"models are {', '.join(names)}" if names else "no researcher of this study is a model"
        raise CommandFailed(f"no transcript of {options.researcher!r:.80}: {told}")
    if options.researcher == MONITOR:
        return _readings(study, projection, options)
    try:
        from aar.llm import inspect_trace
    except ImportError as error:
        raise CommandFailed(
            f"transcripts are read with Inspect AI, which is not here ({error}): pip install 'aar[llm]'; "
            "in a checkout ./aar trace installs it"
        ) from error
    files = inspect_trace.transcript_files(study.worker, options.researcher)
    if not (options.json or options.text):
        if not files:
            raise CommandFailed(
                f"no conversation of {options.researcher} is over yet: --text shows what was said so far"
            )
        with tempfile.TemporaryDirectory(prefix="aar-trace-") as scratch:
            # The very bytes that are shown are looked at.
            copies = inspect_trace.copies_of(files, Path(scratch))
            standings = [{"file": one.name, "sha256": inspect_trace.digest_of(one)} for one in copies]
            is_sound = _compare(options.researcher, standings, projection)
            where = f"http://127.0.0.1:{options.port}"
            say(f"{where} shows {len(copies)} transcripts, as plain text; Ctrl-C ends it")
            status = inspect_trace.view(copies[0].parent, port=options.port, scratch=Path(scratch))
        return status if is_sound else EXIT_TAMPERED
    transcripts = [inspect_trace.read_transcript(path) for path in files]
    is_sound = _compare(options.researcher, transcripts, projection)
    unfinished = inspect_trace.read_unfinished(study.worker, options.researcher)
    if options.json:
        say_json({"researcher": options.researcher, "transcripts": transcripts, "unfinished": unfinished})
    else:
        for line in trace_lines(transcripts, unfinished):
            say(line)
    return EXIT_OK if is_sound else EXIT_TAMPERED


def _compare(researcher: str, transcripts: list[dict[str, Any]], projection: Projection) -> bool:
    """Note in each transcript how it stands to the record; complain, and answer False, where they differ."""
    for one in transcripts:
        recorded = projection.spending.transcripts.get((researcher, one["file"]))
        one["recorded"] = recorded is not None and recorded["sha256"] == one["sha256"]
        one["changed"] = recorded is not None and not one["recorded"]
    strange = [one["file"] for one in transcripts if not (one["recorded"] or one["changed"])]
    if strange:
        complain(f"{terminal_safe(', '.join(strange))}: no digest of it is in the record (yet)")
    changed = [one["file"] for one in transcripts if one["changed"]]
    if changed:
        complain(f"{terminal_safe(', '.join(changed))}: not the bytes whose digest the record has")
    gone = missing(researcher, (one["file"] for one in transcripts), projection.spending.transcripts)
    if gone:
        complain(f"{terminal_safe(', '.join(gone))}: the record has the digest, and the file is not here")
    return not (changed or gone)


def _readings(study: StudyDirectory, projection: Projection, options: argparse.Namespace) -> int:
    """What a monitor that is a model was shown and said, reading by reading."""
    if not (options.json or options.text):
        raise CommandFailed(f"readings of the {MONITOR} are shown with --text or --json")
    folder = study.worker / "transcripts" / MONITOR
    paths = [one for one in sorted(folder.glob("*.json"), key=_place) if stat.S_ISREG(one.lstat().st_mode)]
    readings = []
    for path in paths:
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        recorded = projection.spending.transcripts.get((MONITOR, path.name))
        told: dict[str, Any] = {"reading": reading_in(data), "file": path.name, "sha256": digest}
        told["recorded"] = recorded is not None and recorded["sha256"] == digest
        told["changed"] = recorded is not None and not told["recorded"]
        readings.append(told)
    if options.json:
        say_json({"researcher": MONITOR, "readings": readings})
    else:
        for one in readings:
            for line in reading_lines(one):
                say(line)
    changed = [one["file"] for one in readings if one["changed"]]
    if changed:
        complain(f"{terminal_safe(', '.join(changed))}: not the bytes whose digest the record has")
    gone = missing(MONITOR, (one["file"] for one in readings), projection.spending.transcripts)
    if gone:
        complain(f"{terminal_safe(', '.join(gone))}: the record has the digest, and the file is not here")
    return EXIT_TAMPERED if changed or gone else EXIT_OK


def reading_in(data: bytes) -> Mapping[str, Any]:
    """What a reading's file says; nothing where it is none, whoever wrote it."""
    try:
        told = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _place(path: Path) -> tuple[int, str]:
    return path.lstat().st_mtime_ns, path.name


def reading_lines(told: Mapping[str, Any]) -> Iterable[str]:
    """A reading as lines for a terminal."""
    reading = told["reading"]
    standing = "in the record" if told["recorded"] else "NOT in the record"
    who = reading.get("researcher", "nobody")
    yield f"== {terminal_safe(told['file'])}: of {terminal_safe(str(who))}, digest {standing}"
    for name in ("shown", "answers", "alarms"):
        yield f"-- {name}"
        parts = reading.get(name, "")
        for part in parts if isinstance(parts, list) else [parts]:
            text = part if isinstance(part, str) else json.dumps(part)
            yield from (f"   {terminal_safe(line)}" for line in text.splitlines())


def missing(researcher: str, files: Iterable[str], recorded: Iterable[tuple[str, str]]) -> list[str]:
    """Names of a researcher's transcripts that the record tells of, and that are not among `files`."""
    here = set(files)
    return [name for who, name in recorded if who == researcher and name not in here]


def trace_lines(
    transcripts: Iterable[Mapping[str, Any]], unfinished: Iterable[Mapping[str, Any]]
) -> Iterable[str]:
    """Transcripts as lines for a terminal; control characters from a model or a sandbox are written out."""
    for one in transcripts:
        standing = "in the record" if one["recorded"] else "NOT in the record"
        named = terminal_safe(f"{one['file']}: {one['model']}")
        yield f"== {named}, {len(one['calls'])} calls, digest {standing}"
        yield from _message_lines(one["messages"])
    for one in unfinished:
        yield f"== {terminal_safe(one['task'])}: not over, {one['turns']} turns so far"
        yield from _message_lines(one["messages"])


def _message_lines(messages: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    for message in messages:
        who = f"{message['role']} {message['tool']}" if "tool" in message else message["role"]
        yield f"-- {terminal_safe(who)}{' (error)' if message.get('is_error') else ''}"
        yield from (f"   {terminal_safe(line)}" for line in message["text"].splitlines())
        for call in message.get("calls", ()):
            yield f"   > {terminal_safe(call['tool'])} {terminal_safe(json.dumps(call['arguments']))}"
