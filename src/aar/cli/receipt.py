"""The receipt command: take a receipt of an entry home, to hold it against the record later."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from aar.cli.failures import CommandFailed
from aar.cli.main import EXIT_OK
from aar.cli.output import say
from aar.outside.record.errors import NotPublished
from aar.outside.record.receipt import build_receipt
from aar.outside.study_directory import StudyDirectory


def receipt(options: argparse.Namespace) -> int:
    """`aar receipt get`."""
    return _get(options)


def _get(options: argparse.Namespace) -> int:
    if not re.fullmatch("0|[1-9][0-9]{0,15}", options.index, re.ASCII):
        raise CommandFailed(f"INDEX {options.index!r:.60}: want the index of an entry, 0 or more")
    study = StudyDirectory(Path(options.dir))
    if not study.record.is_dir():
        raise CommandFailed(f"{study.path} is not a study: there is no record in it")
    try:
        data = build_receipt(study.record, int(options.index))
    except NotPublished as error:
        raise CommandFailed(f"{study.path}: {error}") from error
    if options.out is None:
        say(data.decode("utf-8").removesuffix("\n"))
        return EXIT_OK
    try:
        # A receipt is kept for the day of a dispute: none is written over.
        with Path(options.out).open("xb") as file:
            file.write(data)
    except FileExistsError as error:
        raise CommandFailed(f"--out {options.out}: it exists; name a new file") from error
    say(f"entry {int(options.index)} is in {options.out}")
    return EXIT_OK
