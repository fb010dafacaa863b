"""The anchor command: bring what a store holds, so that the verifier can compare a record with it."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from aar.cli.failures import CommandFailed
from aar.cli.main import EXIT_OK
from aar.cli.output import say
from aar.cli.safe_text import typed
from aar.lab.problems import STUDY_PROBLEMS
from aar.outside.record.anchors.anchor import AnchorError, AnchorRefused
from aar.outside.record.anchors.opening import open_anchor
from aar.outside.record.anchors.s3 import S3Anchor
from aar.outside.study_directory import StudyDirectory
from aar.outside.study_file import AnchorSpec, StudyFileError, parse_study


def anchor(options: argparse.Namespace) -> int:
    """`aar anchor fetch`."""
    study, out = StudyDirectory(Path(options.dir)), Path(options.out)
    spec = _spec(study, options.name)
    if spec.kind != "s3":
        raise CommandFailed(
            f"anchor {spec.name} is a directory: ./aar verify {typed(study.path)} --anchor {spec.path}"
        )
    if out.exists():
        raise CommandFailed(f"{out} exists; name a new directory")
    try:
        store = open_anchor(asdict(spec))
        assert isinstance(store, S3Anchor)
        count = store.fetch(out)
    except (AnchorRefused, AnchorError) as error:
        raise CommandFailed(str(error)) from error
    say(f"{count} objects are in {out}; compare: ./aar verify {typed(study.path)} --anchor {typed(out)}")
    return EXIT_OK


def _spec(study: StudyDirectory, name: str) -> AnchorSpec:
    try:
        text = study.study_file.read_text("utf-8")
        file = parse_study(text, source=str(study.study_file), problems=STUDY_PROBLEMS)
    except (OSError, UnicodeDecodeError, StudyFileError) as error:
        raise CommandFailed(f"{study.study_file} cannot be read: {error}") from error
    found = [one for one in file.anchors if one.name == name]
    if not found:
        names = ", ".join(one.name for one in file.anchors) or "none"
        raise CommandFailed(f"{study.path} has no anchor {name!r:.60}; it has: {names}")
    return found[0]
