"""The reproduce command: run a receipt's method again from the record and say whether its value is met."""

from __future__ import annotations

import argparse
import binascii
import math
import os
from fractions import Fraction
from pathlib import Path

from aar.cli.failures import CommandFailed
from aar.cli.main import EXIT_BAD_INPUT, EXIT_OK, EXIT_TAMPERED
from aar.cli.output import complain, say, say_json
from aar.cli.read import read_leaves
from aar.cli.safe_text import terminal_safe
from aar.formats.commitments import SECRET_BYTES
from aar.outside.evaluation.reproduce import CannotJudge, Reproduction, reproduce_receipt
from aar.outside.projection import Projection
from aar.outside.sandbox.spec import SandboxError
from aar.outside.study_directory import StudyDirectory


def reproduce(options: argparse.Namespace) -> int:
    """Exit status 0: the committed value is met, 1: it is not, 2: cannot judge."""
    if not math.isfinite(options.tolerance) or options.tolerance < 0:
        raise CommandFailed(f"--tolerance {options.tolerance}: want a difference in PGR, 0 or more")
    study = StudyDirectory(Path(options.dir))
    projection = Projection.of(read_leaves(study))
    try:
        found = reproduce_receipt(
            projection,
            study.record,
            options.receipt,
            secret=None if options.secret is None else _secret(Path(options.secret)),
            tolerance=Fraction(str(options.tolerance)),
            data=_data(options, study),
        )
    except (CannotJudge, SandboxError) as error:
        if options.json:
            say_json({"receipt": options.receipt, "verdict": "cannot-judge", "reason": str(error)}, indent=1)
        else:
            complain(f"cannot judge: {terminal_safe(str(error))}")
        return EXIT_BAD_INPUT
    if options.json:
        say_json(found.as_json(), indent=1)
    else:
        say(_as_text(found))
    return EXIT_OK if found.verdict == "met" else EXIT_TAMPERED


def _data(options: argparse.Namespace, study: StudyDirectory) -> Path | None:
    """The directory given, or the study's own copy where it is here and we may read it."""
    if options.data is not None:
        return Path(options.data)
    return study.data if os.access(study.data, os.R_OK | os.X_OK) else None


def _secret(path: Path) -> bytes:
    try:
        secret = binascii.unhexlify(path.read_text("ascii").strip())
    except (OSError, ValueError) as error:
        raise CommandFailed(f"--secret {path}: {error}") from error
    if len(secret) != SECRET_BYTES:
        raise CommandFailed(f"--secret {path}: {len(secret)} bytes in hex, want {SECRET_BYTES}")
    return secret


def _as_text(found: Reproduction) -> str:
    lines = [f"receipt   {found.receipt}, a run of tier {found.label}"]
    for half in ("public", "sealed"):
        value = found.reproduced.get(half, "no score")
        lines.append(f"{half:<9} {value} here, {found.committed.get(half, 'not open')} in the record")
    wanted = f"within {float(found.tolerance):g} PGR" if found.tolerance else "the same items right"
    lines.append(f"tolerance {wanted}")
    met = "MET" if found.verdict == "met" else "NOT MET"
    return "\n".join([*lines, f"{met}: {found.reason}"])
