"""Checking entries one by one: framing, authors, order, kinds and the shapes of their bodies.

Entries come bundle by bundle and are let go, all but those that claim something: the claims are checked
against each other when the whole record was seen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from aar.formats.bookmark import Bookmark
from aar.formats.entry import Entry, Leaf, check_entry_signatures, parse_leaf
from aar.formats.errors import FormatError
from aar.formats.keys import VerifierKey, format_vkey, parse_vkey
from aar.formats.kinds import KINDS, check_body, isolation_of
from aar.formats.policy import Policy, least_quorum
from aar.verify.claims import CLAIMING
from aar.verify.log_check import Bundle
from aar.verify.report import Finding, Report
from aar.verify.signatures_ahead import SignaturesAhead, questions_about

# Whether a key's signature is over a text.
Vouches = Callable[[VerifierKey, str, bytes], bool]
# A clock of a laptop may be off by this much before an entry from the future is called one.
MAX_CLOCK_SKEW_MS = 10 * 60_000
# What may follow the close: the human's side, and what the evaluator opens for it.
AFTER_CLOSE = (
    "decision",
    "comment",
    "vote",
    "score-receipt",
    "score-revealed",
    "redaction",
    "alarm",
    "submission-released",
)


class EntryCheck:
    """The entries one by one, as they pass; `claiming` are those that `Claims` asks for.

    `is_own_policy`: the policy is the study's own file, which must be what the study was opened with. `seen`
    has (size, Unix seconds) of cosignatures: by then witnesses had seen so many entries. With `ahead`,
    entries wait for the answers of its processes: `finish` checks those that still do. `isolation` is what
    the opening says that each entry must say.
    """

    def __init__(
        self,
        policy: Policy,
        report: Report,
        now_ms: int | None,
        *,
        is_own_policy: bool = False,
        seen: Sequence[tuple[int, int]] = (),
        ahead: SignaturesAhead | None = None,
    ) -> None:
        self._policy = policy
        self._report = report
        self._now_ms = now_ms
        self._is_own_policy = is_own_policy
        self._seen = _earliest(seen)
        self._ahead = ahead
        self._waiting: deque[tuple[int, list[Leaf | FormatError], Vouches]] = deque()
        self.keys: dict[str, VerifierKey] = {}
        self.roles: dict[str, str] = {}
        self._chains: dict[str, tuple[int, str]] = {}
        self._received_ms = 0
        self._is_enrolled = True
        self._is_closed = False
        self.isolation = ""
        self._start = 0
        self.claiming: list[Leaf] = []
        # What came after the close: said beside what the claims show, where the entries themselves hold.
        self.too_late = Report()

    def resume(self, bookmark: Bookmark, start: int) -> None:
        """Go on from where a reader stopped: entries before `start` were checked then."""
        self.keys = {name: key for name, _role, key in bookmark.keys}
        self.roles = {name: role for name, role, _key in bookmark.keys}
        self._chains = dict(bookmark.chains)
        self._received_ms = bookmark.received_ms
        self._is_closed = bookmark.is_closed
        self.isolation = bookmark.isolation
        self._start = start

    def bookmark(self, note: bytes) -> Bookmark:
        """Where a reader stands who saw all entries under that checkpoint hold."""
        keys = tuple((name, self.roles[name], key) for name, key in self.keys.items())
        return Bookmark(note, keys, dict(self._chains), self._received_ms, self._is_closed, self.isolation)

    def take(self, bundle: Bundle) -> None:
        """Check the entries of the next bundle. Where nobody is enrolled, nothing can be said of the rest."""
        if self._ahead is None or not self.keys:
            self._check_all(bundle.first, map(_parsed, bundle.entries), VerifierKey.vouches_for)
            return
        parsed = [_parsed(data) for data in bundle.entries]
        leaves = (one for one in parsed if isinstance(one, Leaf))
        answers = self._ahead.ask([one for leaf in leaves for one in questions_about(leaf.signed, self.keys)])
        self._waiting.append((bundle.first, parsed, answers.vouches))
        if len(self._waiting) > self._ahead.most_open:
            self._check_all(*self._waiting.popleft())

    def finish(self) -> None:
        """Check the entries that wait; nothing can be said of the whole before."""
        while self._waiting:
            self._check_all(*self._waiting.popleft())

    def take_alone(self, opening: Bundle, index: int, data: bytes) -> None:
        """Check one entry far from its neighbours, after the opening: what it follows on is not known."""
        self.take(opening)
        if index and self._is_enrolled:
            self._check(index, _parsed(data), VerifierKey.vouches_for)

    def _check_all(self, first: int, parsed: Iterable[Leaf | FormatError], vouches: Vouches) -> None:
        for index, leaf in enumerate(parsed, first):
            if self._is_enrolled and index >= self._start:
                self._check(index, leaf, vouches)

    def _check(self, index: int, leaf: Leaf | FormatError, vouches: Vouches) -> None:
        if isinstance(leaf, FormatError):
            self._add("ENTRY", index, "an entry in its one spelling", str(leaf))
            return
        self._check_frame(index, leaf)
        if index == 0 and not self._enrol(leaf):
            self._is_enrolled = False
            return
        self._check_author(index, leaf, vouches)
        self._check_kind(index, leaf)
        self._check_isolation(index, leaf.signed.entry)
        if leaf.signed.entry.kind in CLAIMING:
            self.claiming.append(leaf)

    def _add(self, code: str, index: int, expected: str, got: str) -> None:
        self._report.add(_of_entry(code, index, expected, got))

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
        while self._seen and self._seen[-1][0] <= index:
            self._seen.pop()
        if self._seen and leaf.received_ms // 1000 > self._seen[-1][1] + MAX_CLOCK_SKEW_MS // 1000:
            size, seen_s = self._seen[-1]
            self._add(
                "CLOCK_REGRESSION",
                index,
                f"received before {seen_s} s, when a witness had seen {size} entries",
                f"at {leaf.received_ms}",
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
        if self._is_own_policy:
            self._check_policy(body)
        self.keys = {name: key for name, _role, key in keys}
        self.roles = {name: role for name, role, _key in keys}
        self.isolation = isolation_of(body)
        return True

    def _check_policy(self, body: Any) -> None:
        """Whoever can rewrite the study's directory can rewrite its policy; the opening is signed."""
        witnesses = {format_vkey(key) for _name, key in self._policy.witnesses}
        needed = least_quorum(self._policy)
        if witnesses != set(body["witnesses"]) or needed < body["quorum"]:
            self._add(
                "POLICY",
                0,
                f"{body['quorum']} of the {len(body['witnesses'])} witnesses that the study was opened with",
                f"{needed} of {len(witnesses)} in the study's own policy",
            )

    def _check_author(self, index: int, leaf: Leaf, vouches: Vouches) -> None:
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
            signers = check_entry_signatures(signed, self.keys.values(), vouches)
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
        is_research = entry.kind not in AFTER_CLOSE or self.roles.get(entry.author) == "researcher"
        if self._is_closed and is_research:
            self.too_late.add(
                _of_entry("ORDER", index, "nothing of the research after study-closed", entry.kind)
            )
        self._is_closed = self._is_closed or entry.kind == "study-closed"
        if entry.kind == "study-opened" and index > 0:
            self._add("ORDER", index, "one study-opened, the first entry", "a second one")
        try:
            check_body(entry.kind, entry.body)
        except FormatError as error:
            self._add("BODY", index, f"the body of a {entry.kind}", str(error))

    def _check_isolation(self, index: int, entry: Entry) -> None:
        """Where researchers ran without a sandbox, every entry says so; nothing is handed in or published."""
        if entry.isolation != self.isolation:
            self._add(
                "ISOLATION",
                index,
                f"isolation {self.isolation or 'not mentioned'}, as the study was opened",
                entry.isolation or "not mentioned",
            )
        if not self.isolation:
            return
        if entry.kind == "submission":
            self._add("ISOLATION", index, "nothing handed in where nothing is isolated", entry.kind)
        if entry.kind == "score-receipt":
            self._add("ISOLATION", index, "no score where nothing is isolated", entry.kind)
        if entry.kind == "decision" and entry.body.get("decision") == "publish":
            self._add("ISOLATION", index, "nothing published where nothing is isolated", entry.kind)


def _parsed(data: bytes) -> Leaf | FormatError:
    try:
        return parse_leaf(data)
    except FormatError as error:
        return error


def _of_entry(code: str, index: int, expected: str, got: str) -> Finding:
    return Finding(code=code, resource=f"entry {index}", expected=expected, got=got, first_index=index)


def _earliest(seen: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """For each size, largest first, the earliest time at which so many entries or more had been seen."""
    earliest: list[tuple[int, int]] = []
    for size, unix_s in sorted(seen, reverse=True):
        earliest.append((size, min(unix_s, earliest[-1][1]) if earliest else unix_s))
    return earliest
