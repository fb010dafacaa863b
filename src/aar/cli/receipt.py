"""The receipt command: take a receipt of an entry home, and check one offline, without the record."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aar.cli.config import Pins, parse_policy_file
from aar.cli.failures import CommandFailed
from aar.cli.main import EXIT_BAD_INPUT, EXIT_OK, EXIT_TAMPERED
from aar.cli.output import complain, say, say_json
from aar.cli.safe_text import terminal_safe
from aar.formats.checkpoint import parse_checkpoint_text
from aar.formats.errors import FormatError
from aar.formats.note import parse_note
from aar.formats.policy import Policy
from aar.formats.proof import parse_proof
from aar.outside.record.errors import NotPublished
from aar.outside.record.receipt import build_receipt
from aar.outside.study_directory import StudyDirectory
from aar.verify.receipt import Receipt, ReceiptRefused, check_receipt

# A tlog-proof has at most 63 hashes, a leaf of 65,535 bytes in base64 and a note of 1 MiB.
MAX_RECEIPT_BYTES = 1 << 21


def receipt(options: argparse.Namespace) -> int:
    """`aar receipt get` and `aar receipt check`."""
    return _get(options) if options.action == "get" else _check(options)


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


def _check(options: argparse.Namespace) -> int:
    """Exit status as `verify`: 0 it holds, 1 it does not, 2 no receipt, or no keys to judge it by."""
    told: dict[str, Any]
    try:
        data = _read(options.file)
        held = check_receipt(data, _policy(options, data))
    except ReceiptRefused as refused:
        told = {"verdict": "refused", "code": refused.code, "reason": str(refused)}
        text = f"{refused.code}: {terminal_safe(str(refused))}\nREFUSED: the receipt does not hold"
        status = EXIT_TAMPERED
    except (CommandFailed, FormatError) as error:
        told = {"verdict": "cannot-judge", "reason": str(error)}
        text, status = f"cannot judge: {terminal_safe(str(error))}", EXIT_BAD_INPUT
    else:
        told, text, status = _as_json(held), _as_text(held), EXIT_OK
    if options.json:
        say_json(told, indent=1)
    elif status == EXIT_BAD_INPUT:
        complain(text)
    else:
        say(text)
    return status


def _read(name: str) -> bytes:
    path = Path(name)
    if not path.is_file():
        raise CommandFailed(f"{name}: there is no such file")
    with path.open("rb") as file:
        data = file.read(MAX_RECEIPT_BYTES + 1)
    if len(data) > MAX_RECEIPT_BYTES:
        raise CommandFailed(f"{name} is too large for a receipt: want at most {MAX_RECEIPT_BYTES} bytes")
    return data


def _policy(options: argparse.Namespace, data: bytes) -> Policy:
    """The given policy, else the one pinned for the log that the receipt is of; it must be that log's."""
    try:
        origin = parse_checkpoint_text(parse_note(parse_proof(data).checkpoint).text).origin
    except FormatError as error:
        raise CommandFailed(f"{options.file} is not a receipt: {error}") from error
    if options.policy is None:
        pinned = Pins(origin).policy
        if pinned is None:
            raise CommandFailed(
                f"no keys to judge {options.file} by: its log {origin} was never verified here; "
                "give its policy with --policy FILE"
            )
        return parse_policy_file(Path(f"the pinned policy of {origin}"), pinned)
    path = Path(options.policy)
    if not path.is_file():
        raise CommandFailed(f"--policy {options.policy}: there is no such file")
    policy = parse_policy_file(path, path.read_bytes())
    if policy.log.name != origin:
        raise CommandFailed(
            f"--policy {options.policy} is for log {policy.log.name}, the receipt for {origin}"
        )
    return policy


def _as_json(held: Receipt) -> dict[str, Any]:
    entry = held.leaf.signed.entry
    return {
        "verdict": "ok",
        "log": held.checkpoint.origin,
        "index": held.leaf.index,
        "kind": entry.kind,
        "author": entry.author,
        "received_ms": held.leaf.received_ms,
        "leaf_hash": held.leaf_hash.hex(),
        "size": held.checkpoint.size,
        "root": held.checkpoint.root.hex(),
        "cosigned_s": held.cosigned_s,
    }


def _as_text(held: Receipt) -> str:
    entry = held.leaf.signed.entry
    place = f"{held.leaf.index} of {held.checkpoint.size}"
    received = _time(held.leaf.received_ms / 1000)
    lines = [
        f"log       {held.checkpoint.origin}",
        f"entry     {place}: {entry.kind} by {entry.author}, received {received}",
    ]
    lines += [f"witness   {name}, {_time(unix_s)}" for name, unix_s in held.cosigned_s.items()]
    return "\n".join([*map(terminal_safe, lines), "OK: the entry is in the log"])


def _time(unix_s: float) -> str:
    """UTC to the second; a time beyond any calendar is shown as the number it is."""
    try:
        return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"{unix_s:.0f} s"
