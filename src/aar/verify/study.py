"""Verifying a study: from public bytes and public keys to a verdict, every released number derived again.

First the log (`log_check`): is every byte what a witnessed checkpoint committed to? Then the entries: did
their authors sign them, in their order, in a role that may? Then what they claim: budgets, receipts, opened
values, decisions. What was not opened yet is counted, not believed.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aar.formats.bookmark import parse_bookmark
from aar.formats.checkpoint import open_checkpoint, parse_checkpoint_text
from aar.formats.cosignature import cosigned_at
from aar.formats.entry import Leaf
from aar.formats.errors import FormatError
from aar.formats.note import MAX_NOTE_BYTES, parse_note
from aar.formats.policy import Policy, parse_policy
from aar.verify.anchor import AnchorCheck, NotAnAnchor
from aar.verify.claims import Claims
from aar.verify.entry_check import MAX_CLOCK_SKEW_MS, EntryCheck
from aar.verify.evidence import enclose_entries
from aar.verify.leaderboard import leaderboard
from aar.verify.log_check import LogCheck, check_seen
from aar.verify.receipt import Receipt, ReceiptRefused, check_receipt
from aar.verify.report import HELD, HERE, Finding, Report, cannot_judge
from aar.verify.resources import read_plain
from aar.verify.signatures_ahead import SignaturesAhead

# A record that changes each time it is read is judged as it was the last time.
MAX_ATTEMPTS = 5
PAUSE_S = 0.3
UNISOLATED = "NO ISOLATION: its researchers ran without a sandbox; nothing in it is scored or published"


def verify_study(
    directory: Path,
    *,
    policy: bytes | None = None,
    pins: Sequence[bytes] = (),
    receipts: Sequence[bytes] = (),
    anchors: Sequence[Path] = (),
    now_ms: int | None = None,
    max_age_s: int | None = None,
    jobs: int = 1,
    pause: Callable[[float], None] = time.sleep,
) -> Report:
    """Verify the study in `directory`; never raises on what it finds there.

    `policy` says which log and witness keys to trust, by default the study's own file (then the report
    warns: whoever can rewrite the directory can rewrite that file). `pins` are checkpoints kept elsewhere,
    `receipts` held proofs of single entries (`check_receipt`): each is checked alone, and against this copy.
    `anchors` are directories that hold what was written elsewhere as the log grew (`verify.anchor`).
    `max_age_s`: how old the newest cosignature may be at `now_ms`; a record that runs renews it every minute.
    `jobs`: with 2 or more, so many processes check authors' signatures beside this one, to the same report.

    A record that is being written grows while it is read. When something does not hold and the published
    checkpoint has changed meanwhile, what did not hold was a mixture of two moments: it is read again.
    Between a cosignature and the publication of what it is for lies a moment, too: `pause` waits that long.
    """
    with SignaturesAhead(jobs) if jobs != 1 else nullcontext() as ahead:
        return _settled(
            directory,
            lambda: _verify_once(directory, policy, pins, now_ms, receipts, anchors, max_age_s, ahead),
            pause,
        )


def _settled(directory: Path, verify: Callable[[], Report], pause: Callable[[float], None]) -> Report:
    for _attempt in range(MAX_ATTEMPTS):
        before = _published(directory)
        report = verify()
        if report.verdict != "tampered":
            break
        if _published(directory) == before:
            pause(PAUSE_S)
            if _published(directory) == before:
                break
    return report


def verify_log(
    directory: Path, *, policy: bytes | None = None, pause: Callable[[float], None] = time.sleep
) -> Report:
    """Only the log: is every byte what a witnessed checkpoint committed to? It says nothing of claims."""
    return _settled(directory, lambda: _verify_once(directory, policy, (), None, is_log_only=True), pause)


def _published(directory: Path) -> bytes:
    try:
        return _plain_bytes(directory / "record" / "checkpoint")
    except OSError:
        return b""  # what cannot be read is named by the log's check


def _verify_once(
    directory: Path,
    policy: bytes | None,
    pins: Sequence[bytes],
    now_ms: int | None,
    receipts: Sequence[bytes] = (),
    anchors: Sequence[Path] = (),
    max_age_s: int | None = None,
    ahead: SignaturesAhead | None = None,
    *,
    is_log_only: bool = False,
) -> Report:
    record = directory / "record"
    try:
        return _judge(
            directory, record, policy, pins, now_ms, receipts, anchors, max_age_s, ahead, is_log_only
        )
    except PermissionError as error:
        return cannot_judge(
            f"{error.filename or directory}: {error.strerror}; verify as a user who may read it"
        )


def _judge(
    directory: Path,
    record: Path,
    policy: bytes | None,
    pins: Sequence[bytes],
    now_ms: int | None,
    receipts: Sequence[bytes],
    anchors: Sequence[Path],
    max_age_s: int | None,
    ahead: SignaturesAhead | None,
    is_log_only: bool,
) -> Report:
    if not record.is_dir():
        return cannot_judge(f"{directory} is not a study: there is no record in it")
    is_pinned = policy is not None
    try:
        data = _plain_bytes(directory / "policy") if policy is None else policy
        trusted = parse_policy(data.decode("utf-8"))
    except (OSError, UnicodeDecodeError, FormatError) as error:
        return cannot_judge(f"no usable policy: {error}; give one with --policy")
    if not _has_content(record):
        return cannot_judge(f"{record} is empty: nothing was published yet")
    published = _published(directory)
    other = _another_log(published, trusted)
    if other:
        return cannot_judge(
            f"{record} is the record of {other}, the policy is for {trusted.log.name}: "
            "name that study's policy, or the directory meant"
        )
    report = Report(origin=trusted.log.name)
    if not is_pinned:
        report.warnings.append(
            "trusted the keys in the study's own directory: nothing else was given or pinned"
        )
    memories = [] if is_log_only else [*_of_the_witness(directory, trusted, report)]
    memories += [Memory("a pinned checkpoint", pin) for pin in pins]
    held = [_held(data, f"held receipt {number}", trusted, report) for number, data in enumerate(receipts)]
    shown = [one for one in held if one is not None]
    try:
        elsewhere = [AnchorCheck(one, trusted, record) for one in anchors]
    except NotAnAnchor as error:
        return cannot_judge(str(error))
    sizes = {size for one in (*memories, *shown) if (size := one.size(trusted)) is not None}
    sizes.update(size for anchor in elsewhere for size in anchor.sizes())
    log = LogCheck(
        record,
        trusted,
        report,
        sizes=tuple(sizes),
        indices=[one.receipt.leaf.index for one in shown],
    )
    notes = [published, *(one.note for one in (*memories, *shown))]
    notes += [note for anchor in elsewhere for note in anchor.notes()]
    of_entries = Report()
    entries = EntryCheck(
        trusted,
        of_entries,
        now_ms,
        is_own_policy=not is_pinned,
        seen=[one for note in notes for one in _seen(note, trusted)],
        ahead=ahead,
    )
    is_sound = log.run([*elsewhere] if is_log_only else [*elsewhere, entries])
    if log.is_opened:
        _check_age(log, now_ms, max_age_s, report)
        for memory in memories:
            check_seen(memory.note, memory.what, trusted, log, report)
        for one in shown:
            one.check(trusted, log, report)
        for anchor in elsewhere:
            anchor.finish(log, report)
    if is_sound and not is_log_only:
        entries.finish()
        report.join(of_entries)
        if report.verdict == "ok":
            report.join(entries.too_late)
            claims = Claims(record, log.blobs, report)
            claims.run(entries.claiming)
        if report.verdict == "ok":
            # No number is told of a record that does not hold.
            report.leaderboard = [row.as_json() for row in leaderboard(entries.claiming)]
            report.bookmark = entries.bookmark(log.note)
        if report.verdict == "ok" and entries.isolation:
            report.warnings.append(UNISOLATED)
        if report.verdict == "ok" and not anchors:
            _warn_of_anchors(entries.claiming, report)
    enclose_entries(report, log)
    return report


def _another_log(published: bytes, trusted: Policy) -> str:
    """The origin of a checkpoint that another log signed in its own name; empty if it may be of this one."""
    try:
        note = parse_note(published)
        origin = parse_checkpoint_text(note.text).origin
    except FormatError:
        return ""
    names = {line.name for line in note.signatures}
    return origin if origin in names and trusted.log.name not in {origin, *names} else ""


def _seen(data: bytes, trusted: Policy) -> Iterator[tuple[int, int]]:
    """(size, Unix seconds) of each cosignature under a checkpoint of this log; none of what does not hold."""
    try:
        checkpoint, note = open_checkpoint(data, trusted.log)
        times = [cosigned_at(note, key) for _name, key in trusted.witnesses]
    except FormatError:
        return
    yield from ((checkpoint.size, one) for one in times if one is not None)


def _check_age(log: LogCheck, now_ms: int | None, max_age_s: int | None, report: Report) -> None:
    """A record that stands still, or a reader who is shown an old one: no witness saw it lately."""
    if now_ms is not None and log.cosigned_s * 1000 > now_ms + MAX_CLOCK_SKEW_MS:
        # It would keep an old record fresh until then.
        report.add(
            Finding(
                code="CLOCK_REGRESSION",
                resource="checkpoint",
                expected=f"cosignatures of before now, {now_ms // 1000} s",
                got=f"one of {log.cosigned_s} s",
                evidence={HERE: log.note},
            )
        )
    if now_ms is None or max_age_s is None or now_ms // 1000 - log.cosigned_s <= max_age_s:
        return
    report.add(
        Finding(
            code="STALE",
            resource="checkpoint",
            expected=f"a cosignature not older than {max_age_s} s at {now_ms // 1000}",
            got=f"the newest is of {log.cosigned_s}" if log.cosigned_s else "none",
            evidence={HERE: log.note},
        )
    )


def _warn_of_anchors(leaves: Sequence[Leaf], report: Report) -> None:
    """The record says where else it was written to; whoever did not look there should know."""
    body: Any = leaves[0].signed.entry.body if leaves else {}
    names = [str(one["name"]) for one in body.get("anchors", ())]
    if names:
        report.warnings.append(
            f"it was written through to {', '.join(names)}, with which nothing was compared: see --anchor"
        )


def verify_new(
    directory: Path,
    bookmark: bytes,
    *,
    policy: bytes | None = None,
    pins: Sequence[bytes] = (),
    now_ms: int | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> Report:
    """Verify what a study's record says since `bookmark` was made; the cost is that of what is new.

    A bookmark holds no keys of log and witnesses: without a `policy` the whole study is verified.

    The log must extend what held then, byte by byte, and each new entry must be its author's, in order. What
    the entries claim of each other (budgets, receipts, decisions) is not derived again, and older files are
    not read. Where anything is not as it should be, the whole study is verified, and the report is of that.
    """
    report = _verify_new_once(directory, bookmark, policy, pins, now_ms)
    if report is not None:
        return report
    seen = parse_bookmark(bookmark).checkpoint
    return verify_study(directory, policy=policy, pins=[*pins, seen], now_ms=now_ms, pause=pause)


def _verify_new_once(
    directory: Path, data: bytes, policy: bytes | None, pins: Sequence[bytes], now_ms: int | None
) -> Report | None:
    """The report when everything new holds, or when nothing can be said; `None` for all else."""
    try:
        bookmark = parse_bookmark(data)
    except FormatError as error:
        return cannot_judge(f"{error}; remove it to verify the whole study")
    record = directory / "record"
    if policy is None:
        return None
    try:
        trusted = parse_policy(policy.decode("utf-8"))
    except (UnicodeDecodeError, FormatError):
        return None
    try:
        since, _note = open_checkpoint(bookmark.checkpoint, trusted.log)
    except FormatError as error:
        return cannot_judge(f"the bookmark is not of this log: {error}")
    report = Report(origin=trusted.log.name, verified_from=since.size)
    memories = [*_of_the_witness(directory, trusted, report)]
    memories += [Memory("a pinned checkpoint", pin) for pin in pins]
    sizes = [one.size(trusted) for one in memories]
    # What is older than the bookmark, or no checkpoint at all, is for a whole verification to judge.
    if any(size is None or size < since.size for size in sizes):
        return None
    log = LogCheck(record, trusted, report, sizes=[size for size in sizes if size is not None])
    notes = [_published(directory), *(one.note for one in memories)]
    seen = [one for note in notes for one in _seen(note, trusted)]
    entries = EntryCheck(trusted, report, now_ms, seen=seen)
    entries.resume(bookmark, since.size)
    try:
        is_sound = log.run_from(since, [entries])
    except PermissionError:
        return None
    if not is_sound:
        return None
    _check_age(log, now_ms, None, report)
    for memory in memories:
        check_seen(memory.note, memory.what, trusted, log, report)
    if report.verdict != "ok" or entries.too_late.verdict != "ok":
        return None
    report.warnings.append(
        "only what is new was read; budgets, receipts and decisions are derived again by a whole verification"
    )
    if entries.isolation:
        report.warnings.append(UNISOLATED)
    report.bookmark = entries.bookmark(log.note)
    return report


def _has_content(folder: Path) -> bool:
    try:
        return any(folder.iterdir())
    except PermissionError:
        raise
    except OSError:
        return True  # what cannot be read is named by the log's check


def _plain_bytes(file: Path) -> bytes:
    """A file's bytes; raises `OSError`, and never waits for a pipe's other end."""
    return read_plain(file, MAX_NOTE_BYTES, is_link_followed=True)


@dataclass(frozen=True, slots=True)
class Memory:
    """A checkpoint of this log that somebody kept."""

    what: str
    note: bytes

    def size(self, policy: Policy) -> int | None:
        """The size it is of, if it is one at all."""
        try:
            return open_checkpoint(self.note, policy.log)[0].size
        except FormatError:
            return None


@dataclass(frozen=True, slots=True)
class Held(Memory):
    """A receipt that holds by itself: both entry and checkpoint are in this copy, or it is not the log."""

    receipt: Receipt
    data: bytes

    def check(self, policy: Policy, log: LogCheck, report: Report) -> None:
        index, hashed = self.receipt.leaf.index, self.receipt.leaf_hash
        is_there = index < log.checkpoint.size
        # Where entries are damaged here, the damage is what there is to say.
        if log.is_sound and not (is_there and log.leaf_hash_at(index) == hashed):
            report.add(
                Finding(
                    code="OMISSION",
                    resource=self.what,
                    expected=f"leaf hash {hashed.hex()}, which the log signed for and {self.what} proves",
                    got=log.leaf_hash_at(index).hex() if is_there else "no such entry",
                    first_index=index,
                    evidence={HELD: self.data, HERE: log.note},
                )
            )
        check_seen(self.note, self.what, policy, log, report)


def _of_the_witness(directory: Path, policy: Policy, report: Report) -> Iterator[Memory]:
    """What the witness beside the study kept."""
    name = hashlib.sha256(policy.log.name.encode()).hexdigest()
    kept = directory / "witness" / "state" / name / "checkpoint"
    try:
        yield Memory("the witness", _plain_bytes(kept))
    except FileNotFoundError:
        pass
    except OSError as error:
        report.warnings.append(f"what the witness beside the study kept was not compared: {error}")


def _held(data: bytes, what: str, policy: Policy, report: Report) -> Held | None:
    try:
        receipt = check_receipt(data, policy)
    except ReceiptRefused as error:
        report.warnings.append(f"{what} shows nothing ({error.code}): {error}")
        return None
    except FormatError as error:
        report.warnings.append(f"{what} is no receipt: {error}")
        return None
    return Held(what, receipt.note, receipt, data)
