"""Verifying a study: from public bytes and public keys to a verdict, every released number derived again.

First the log (`log_check`): is every byte what a witnessed checkpoint committed to? Then the entries: did
their authors sign them, in their order, in a role that may? Then what they claim: budgets, receipts, opened
values, decisions. What was not opened yet is counted, not believed.
"""

from __future__ import annotations

import hashlib
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aar.formats.entry import Leaf, check_entry_signatures, parse_leaf
from aar.formats.errors import FormatError
from aar.formats.keys import VerifierKey, parse_vkey
from aar.formats.kinds import KINDS, check_body
from aar.formats.policy import Policy, parse_policy
from aar.verify.claims import Claims
from aar.verify.leaderboard import leaderboard
from aar.verify.log_check import LogCheck, check_seen
from aar.verify.receipt import ReceiptRefused, check_receipt
from aar.verify.report import Finding, Report, cannot_judge

# A clock of a laptop may be off by this much before an entry from the future is called one.
MAX_CLOCK_SKEW_MS = 10 * 60_000
# A record that changes each time it is read is judged as it was the last time.
MAX_ATTEMPTS = 5
PAUSE_S = 0.3


def verify_study(
    directory: Path,
    *,
    policy: bytes | None = None,
    pins: Sequence[bytes] = (),
    receipts: Sequence[bytes] = (),
    now_ms: int | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> Report:
    """Verify the study in `directory`; never raises on what it finds there.

    `policy` says which log and witness keys to trust, by default the study's own file (then the report
    warns: whoever can rewrite the directory can rewrite that file). `pins` are checkpoints kept elsewhere,
    `receipts` held proofs of single entries (`check_receipt`): each is checked alone, and against this copy.

    A record that is being written grows while it is read. When something does not hold and the published
    checkpoint has changed meanwhile, what did not hold was a mixture of two moments: it is read again.
    Between a cosignature and the publication of what it is for lies a moment, too: `pause` waits that long.
    """
    return _settled(directory, lambda: _verify_once(directory, policy, pins, now_ms, receipts), pause)


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
    *,
    is_log_only: bool = False,
) -> Report:
    record = directory / "record"
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
    report = Report(origin=trusted.log.name)
    if not is_pinned:
        report.warnings.append(
            "trusted the keys in the study's own directory: nothing else was given or pinned"
        )
    log = LogCheck(record, trusted, report)
    is_sound = log.run()
    if log.is_opened and not is_log_only:
        _check_memories(directory, trusted, log, report, pins)
        for number, receipt in enumerate(receipts):
            _check_held(receipt, f"held receipt {number}", trusted, log, report)
    if is_sound and not is_log_only:
        entries = EntryCheck(trusted, report, now_ms)
        leaves = entries.run(log.leaves)
        if report.verdict == "ok":
            claims = Claims(record, log.blobs, entries.roles, report)
            claims.run(leaves)
        if report.verdict == "ok":
            # No number is told of a record that does not hold.
            report.leaderboard = [row.as_json() for row in leaderboard(leaves)]
    return report


def _has_content(folder: Path) -> bool:
    try:
        return any(folder.iterdir())
    except OSError:
        return True  # what cannot be read is named by the log's check


def _plain_bytes(file: Path) -> bytes:
    """A file's bytes; raises `OSError`, and never waits for a pipe's other end."""
    if not stat.S_ISREG(file.stat().st_mode):
        raise OSError(f"{file} is not a plain file")
    return file.read_bytes()


def _check_memories(
    directory: Path, policy: Policy, log: LogCheck, report: Report, pins: Sequence[bytes]
) -> None:
    """Compare with what the witness beside the study kept, and with what the reader kept."""
    name = hashlib.sha256(policy.log.name.encode()).hexdigest()
    kept = directory / "witness" / "state" / name / "checkpoint"
    try:
        seen = _plain_bytes(kept)
    except FileNotFoundError:
        pass
    except OSError as error:
        report.warnings.append(f"what the witness beside the study kept was not compared: {error}")
    else:
        check_seen(seen, "the witness", policy, log, report)
    for pin in pins:
        check_seen(pin, "a pinned checkpoint", policy, log, report)


def _check_held(data: bytes, what: str, policy: Policy, log: LogCheck, report: Report) -> None:
    """A receipt that holds by itself is in this copy, entry and checkpoint, or this copy is not the log."""
    try:
        receipt = check_receipt(data, policy)
    except ReceiptRefused as error:
        report.warnings.append(f"{what} shows nothing ({error.code}): {error}")
        return
    except FormatError as error:
        report.warnings.append(f"{what} is no receipt: {error}")
        return
    index = receipt.leaf.index
    # Where entries are damaged here, the damage is what there is to say.
    if log.is_sound and (index >= log.checkpoint.size or log.leaf_hashes[index] != receipt.leaf_hash):
        got = "no such entry" if index >= log.checkpoint.size else log.leaf_hashes[index].hex()
        report.add(
            Finding(
                code="OMISSION",
                resource=what,
                expected=f"leaf hash {receipt.leaf_hash.hex()}, which the log signed for and {what} proves",
                got=got,
                first_index=index,
            )
        )
    check_seen(receipt.note, what, policy, log, report)


class EntryCheck:
    """The entries one by one: framing, authors, order, kinds and body shapes."""

    def __init__(self, policy: Policy, report: Report, now_ms: int | None) -> None:
        self._policy = policy
        self._report = report
        self._now_ms = now_ms
        self.keys: dict[str, VerifierKey] = {}
        self.roles: dict[str, str] = {}
        self._chains: dict[str, tuple[int, str]] = {}
        self._received_ms = 0

    def run(self, leaves: Sequence[bytes]) -> list[Leaf]:
        """Parse and check all; the parsed ones are returned for what they claim."""
        parsed = []
        for index, data in enumerate(leaves):
            try:
                leaf = parse_leaf(data)
            except FormatError as error:
                self._add("ENTRY", index, "an entry in its one spelling", str(error))
                continue
            parsed.append(leaf)
            self._check_frame(index, leaf)
            if index == 0 and not self._enrol(leaf):
                return parsed
            self._check_author(index, leaf)
            self._check_kind(index, leaf)
        return parsed

    def _add(self, code: str, index: int, expected: str, got: str) -> None:
        self._report.add(
            Finding(code=code, resource=f"entry {index}", expected=expected, got=got, first_index=index)
        )

    def _check_frame(self, index: int, leaf: Leaf) -> None:
        entry = leaf.signed.entry
        if leaf.index != index:
            self._add("REPLAY", index, f"index {index}", f"index {leaf.index}: moved or repeated")
        if entry.origin != self._policy.log.name:
            self._add("REPLAY", index, f"an entry for {self._policy.log.name}", f"one for {entry.origin}")
        if leaf.received_ms < self._received_ms:
            self._add(
                "CLOCK_REGRESSION",
                index,
                f"received at {self._received_ms} or later",
                f"at {leaf.received_ms}",
            )
        if self._now_ms is not None and leaf.received_ms > self._now_ms + MAX_CLOCK_SKEW_MS:
            self._add(
                "CLOCK_REGRESSION", index, f"received before now, {self._now_ms}", f"at {leaf.received_ms}"
            )
        self._received_ms = max(self._received_ms, leaf.received_ms)
        if any(ref >= index for ref in entry.refs):
            self._add("REFS", index, "refs to entries before it", f"refs {list(entry.refs)}")

    def _enrol(self, leaf: Leaf) -> bool:
        """Take the keys that the first entry enrols; it must be the opening, and name this log's key."""
        body: Any = leaf.signed.entry.body
        try:
            if leaf.signed.entry.kind != "study-opened":
                raise FormatError(f"a {leaf.signed.entry.kind}")
            check_body("study-opened", body)
            keys = [(one["name"], one["role"], parse_vkey(one["vkey"])) for one in body["keys"]]
            if parse_vkey(body["log"]) != self._policy.log:
                raise FormatError("another log's key")
        except FormatError as error:
            self._add("AUTHOR_KEY", 0, "study-opened, with the keys of all who may write", str(error))
            return False
        points = [key.public_key for _name, _role, key in keys] + [self._policy.log.public_key]
        names = {name for name, _role, _key in keys}
        if (
            len(names) != len(keys)
            or len(set(points)) != len(points)
            or any(name != k.name for name, _r, k in keys)
        ):
            self._add(
                "AUTHOR_KEY",
                0,
                "a name and a key once each, none of them the log's",
                "one twice, or misnamed",
            )
            return False
        self.keys = {name: key for name, _role, key in keys}
        self.roles = {name: role for name, role, _key in keys}
        return True

    def _check_author(self, index: int, leaf: Leaf) -> None:
        signed, entry = leaf.signed, leaf.signed.entry
        seq, prev = self._chains.get(entry.author, (0, ""))
        if (entry.seq, entry.prev) != (seq, prev):
            got = f"seq {entry.seq} after {entry.prev[:16] or 'nothing'}"
            code = "REPLAY" if entry.seq < seq else "AUTHOR_SEQ_GAP"
            self._add(code, index, f"seq {seq} after {prev[:16] or 'nothing'} of {entry.author}", got)
        self._chains[entry.author] = (entry.seq + 1, signed.text_digest)
        if entry.author not in self.keys:
            self._add("AUTHOR_KEY", index, "an author whose key is enrolled", entry.author)
            return
        kind = KINDS.get(entry.kind)
        if kind is not None and self.roles[entry.author] not in kind.authors:
            self._add(
                "AUTHOR_KEY",
                index,
                f"a {entry.kind} by a {' or '.join(kind.authors)}",
                f"by {entry.author}, a {self.roles[entry.author]}",
            )
        try:
            signers = check_entry_signatures(signed, self.keys.values())
        except FormatError as error:
            self._add("AUTHOR_SIG", index, f"the signature of {entry.author}", str(error))
            return
        cosigners = [self.roles[key.name] for key in signers[1:]]
        if kind is not None and cosigners != ([kind.cosigner] if kind.cosigner else []):
            self._add(
                "AUTHOR_SIG",
                index,
                f"co-signed by a {kind.cosigner or 'nobody'}",
                f"by {cosigners or 'nobody'}",
            )

    def _check_kind(self, index: int, leaf: Leaf) -> None:
        entry = leaf.signed.entry
        if entry.kind not in KINDS:
            self._add("UNKNOWN_KIND", index, "a kind of the closed set", entry.kind)
            return
        if entry.kind == "study-opened" and index > 0:
            self._add("ORDER", index, "one study-opened, the first entry", "a second one")
        try:
            check_body(entry.kind, entry.body)
        except FormatError as error:
            self._add("BODY", index, f"the body of a {entry.kind}", str(error))
