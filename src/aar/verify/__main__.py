"""The verifier on its own: ``python -m aar.verify DIR [--policy FILE] [--json]``; ``--help`` has the rest."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from aar.formats.bookmark import format_bookmark
from aar.verify.evidence import write_evidence
from aar.verify.report import cannot_judge, format_report
from aar.verify.study import verify_new, verify_study

EXIT_OF = {"ok": 0, "tampered": 1, "cannot-judge": 2}


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify one study; exit status 0 holds, 1 tampered with, 2 cannot judge."""
    parser = argparse.ArgumentParser(prog="aar.verify")
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument(
        "--policy", type=Path, metavar="FILE", help="keys to trust; default: the study's own file"
    )
    parser.add_argument(
        "--pin", type=Path, action="append", default=[], metavar="FILE", help="a checkpoint kept elsewhere"
    )
    parser.add_argument(
        "--receipt", type=Path, action="append", default=[], metavar="FILE", help="a proof of one entry, kept"
    )
    parser.add_argument(
        "--anchor", type=Path, action="append", default=[], metavar="DIR", help="what was written elsewhere"
    )
    parser.add_argument(
        "--max-age", type=int, metavar="SECONDS", help="how old the newest cosignature may be"
    )
    parser.add_argument(
        "--evidence", type=Path, metavar="DIR", help="write files there that show each finding to others"
    )
    parser.add_argument(
        "--bookmark",
        type=Path,
        metavar="FILE",
        help="read only what is new since FILE was written; write it when everything holds",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        choices=range(1, 65),
        default=1,
        metavar="N",
        help="check signatures in so many processes; 1, the default, is this one",
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    policy = None
    now_ms = time.time_ns() // 1_000_000
    try:
        policy = options.policy.read_bytes() if options.policy is not None else None
        pins = [pin.read_bytes() for pin in options.pin]
        receipts = [receipt.read_bytes() for receipt in options.receipt]
        bookmark = _read_bookmark(options.bookmark)
        if bookmark is not None and (receipts or options.anchor or options.max_age is not None):
            parser.error("--receipt, --anchor and --max-age take a whole verification: leave --bookmark out")
        if bookmark is None:
            report = verify_study(
                options.directory,
                policy=policy,
                pins=pins,
                receipts=receipts,
                anchors=options.anchor,
                now_ms=now_ms,
                max_age_s=options.max_age,
                jobs=options.jobs,
            )
        else:
            report = verify_new(options.directory, bookmark, policy=policy, pins=pins, now_ms=now_ms)
        if options.bookmark is not None and report.bookmark is not None:
            _write_bookmark(options.bookmark, format_bookmark(report.bookmark))
    except OSError as error:
        report = cannot_judge(str(error))
    if options.evidence is not None and report.findings:
        try:
            used = policy if policy is not None else (options.directory / "policy").read_bytes()
            write_evidence(report, options.evidence, used)
        except OSError as error:
            sys.stderr.write(f"no evidence was written: {error}\n")
    text = json.dumps(report.as_json(), indent=1) if options.json else format_report(report)
    sys.stdout.write(text + "\n")
    return EXIT_OF[report.verdict]


def _read_bookmark(file: Path | None) -> bytes | None:
    return file.read_bytes() if file is not None and file.exists() else None


def _write_bookmark(file: Path, data: bytes) -> None:
    """All of it or nothing: half a bookmark would be refused the next time."""
    new = file.with_name(file.name + ".new")
    new.write_bytes(data)
    new.replace(file)


if __name__ == "__main__":
    sys.exit(main())
