"""The record, made safe for many threads: admit, make durable, publish, acknowledge.

Every entry of a study passes through `RecordService.append`. One lock orders them; while a checkpoint is
being published the next entries gather at the lock, so that one write and one cosignature serve them all.
"""

from __future__ import annotations

import base64
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aar.formats.canonical import Value
from aar.formats.entry import Entry, Leaf, SignedEntry, parse_leaf, sign_entry
from aar.formats.errors import FormatError
from aar.formats.kinds import isolation_of
from aar.formats.proof import format_proof
from aar.outside.admission import Refused, check_admission
from aar.outside.keyring import Keyring
from aar.outside.monitor.monitor import Monitor
from aar.outside.monitor.sighting import Sighting
from aar.outside.oversight.watch import LimitWatch
from aar.outside.projection import Projection
from aar.outside.record.errors import QuorumNotMet, RecordError
from aar.outside.record.sequencer import Sequencer
from aar.outside.signature_worker import SignatureWorker
from aar.verify.signatures_ahead import Answers

# A study with a dead witness must not look alive for long: after this many tries the record stops.
PUBLISH_TRIES = 20
PUBLISH_PAUSE_S = 0.25
HEARTBEAT_S = 60.0
# An attacker who is refused ten thousand times must not fill the record with alarms.
MAX_ALARMS_PER_KIND = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An entry that the gateway will sign with a key it holds."""

    author: str
    kind: str
    body: dict[str, Any]
    refs: tuple[int, ...] = ()


class FrozenClock:
    """The record's clock, held still for one batch so that what was checked is what is written."""

    def __init__(self, clock_ms: Callable[[], int]) -> None:
        self._clock_ms = clock_ms
        self.now_ms = clock_ms()

    def freeze(self) -> int:
        self.now_ms = self._clock_ms()
        return self.now_ms

    def __call__(self) -> int:
        return self.now_ms


class RecordService:
    """The only writer of a study's record."""

    def __init__(
        self,
        sequencer: Sequencer,
        keyring: Keyring,
        *,
        origin: str,
        clock: FrozenClock,
        on_fatal: Callable[[BaseException], None],
        monitor: Monitor | None = None,
    ) -> None:
        """`monitor` reads every entry, those before this start first; what it sees becomes an alarm.

        With one, the limits of the study's terms are watched, too, and may pause the queue.
        """
        self._sequencer = sequencer
        self._keyring = keyring
        self._origin = origin
        self._clock = clock
        self._on_fatal = on_fatal
        self._lock = threading.RLock()
        self.changed = threading.Condition(self._lock)
        self.leaves: list[Leaf] = []
        self.projection = Projection()
        self._signatures = SignatureWorker()
        self._is_finished = False
        self._monitor = monitor
        self._limits = LimitWatch()
        self.rebuild()
        self._watch()

    def rebuild(self) -> None:
        """Fold the record again: whatever the projection was before, it is what the record says now."""
        with self._lock:
            self.leaves = [parse_leaf(self._sequencer.leaf(index)) for index in range(self._sequencer.size)]
            self.projection = Projection.of(self.leaves)

    @property
    def lock(self) -> threading.RLock:
        return self._lock

    @property
    def origin(self) -> str:
        return self._origin

    @property
    def published_size(self) -> int:
        return self._sequencer.published_size

    @property
    def checkpoint(self) -> bytes | None:
        return self._sequencer.checkpoint

    def now_ms(self) -> int:
        return self._clock.freeze()

    def append(
        self, entries: Sequence[Draft | SignedEntry], *, before_write: Callable[[], object] | None = None
    ) -> range:
        """Admit and make durable all of `entries` or none; raises `Refused` for the first that may not.

        `before_write` is called when all are admitted: for what they name and must be on disk before them.
        """
        # Not under the lock: keys are enrolled once, and nothing else that is done to an entry takes so long.
        handed_in = [one for one in entries if isinstance(one, SignedEntry)]
        answers = self._signatures.check(handed_in, self.projection.keys)
        with self._lock:
            if self._is_finished:
                raise Refused("stopping", "the gateway is stopping: nothing more is taken")
            now_ms = self._clock.freeze()
            first = self.projection.tree_size
            signed_entries = self._admit(entries, first, now_ms, answers)
            try:
                if before_write is not None:
                    before_write()
                indices = self._sequencer.append(signed_entries)
            except (OSError, RecordError, FormatError) as error:
                # The projection is ahead of the record now: neither may be used any more.
                self._on_fatal(error)
                raise
            if indices != range(first, first + len(signed_entries)):
                self._on_fatal(RuntimeError(f"the record put entries at {indices}, {first} was expected"))
            self._watch()
            self.changed.notify_all()
            return indices

    def _watch(self) -> None:
        """Have the monitor read what is new. Its own alarms tell it only what was said already."""
        monitor = self._monitor
        if monitor is None:
            return
        for leaf in self.leaves[monitor.size :]:
            monitor.take(leaf)
        drafts = []
        counts = Counter(self.projection.alarm_counts)
        for seen in monitor.untold():
            counts[seen.who[:64], seen.code] += 1
            if counts[seen.who[:64], seen.code] <= MAX_ALARMS_PER_KIND:
                drafts.append(_draft_of(seen))
        if self.projection.opened:
            drafts += [
                Draft(author="monitor", kind=one.kind, body=one.body, refs=one.refs)
                for one in self._limits.look(self.leaves, self.projection)
            ]
        if drafts and "monitor" in self.projection.keys:
            self.append(drafts)

    def _admit(
        self, entries: Sequence[Draft | SignedEntry], first: int, now_ms: int, answers: Answers
    ) -> list[SignedEntry]:
        """Sign, check and fold all of them, or none: then the projection is as it was."""
        signed_entries: list[SignedEntry] = []
        try:
            for item in entries:
                signed = self._sign(item, now_ms) if isinstance(item, Draft) else item
                check_admission(self.projection, signed, answers.vouches)
                received_ms = max(now_ms, self.projection.last_received_ms)
                leaf = Leaf(index=first + len(signed_entries), received_ms=received_ms, signed=signed)
                self.projection.fold(leaf)
                self.leaves.append(leaf)
                signed_entries.append(signed)
        except (Refused, FormatError) as error:
            if signed_entries:
                self.rebuild()
            if isinstance(error, FormatError):
                raise Refused("bad-body", f"it cannot be an entry: {error}") from error
            raise
        return signed_entries

    def _sign(self, draft: Draft, now_ms: int) -> SignedEntry:
        chain = self.projection.chain(draft.author)
        body: dict[str, Value] = draft.body
        entry = Entry(
            origin=self._origin,
            author=draft.author,
            seq=chain.seq,
            prev=chain.prev,
            kind=draft.kind,
            refs=draft.refs,
            body=body,
            at=now_ms,
            isolation=isolation_of(self.projection.opened),
        )
        return sign_entry(entry, self._keyring.open(draft.author))

    def alarm(self, refused: Refused, *, who: str, what: str, attempt: str = "") -> None:
        """Record that something looked like an attempt; the entry is the monitor's."""
        with self._lock:
            if not self.projection.opened or "monitor" not in self.projection.keys:
                return
            if self.projection.alarm_counts.get((who[:64], refused.code), 0) >= MAX_ALARMS_PER_KIND:
                return
            body = {
                "code": refused.code,
                "who": who[:64],
                "what": f"{what}: {refused}"[:2_000],
                "evidence": [],
                "attempt": attempt[:4_000],
            }
            self.append([Draft(author="monitor", kind="alarm", body=body)])

    def acknowledge(self, index: int, *, timeout_s: float = 30.0) -> dict[str, Any]:
        """Wait until `index` is published; the answer carries a tlog-proof that anyone can check offline."""
        deadline = time.monotonic() + timeout_s
        with self._lock:
            while self._sequencer.published_size <= index:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise Refused(
                        "not-published", f"entry {index} is durable, its witnesses have not answered yet"
                    )
                self.changed.wait(left)
            proof = format_proof(self._sequencer.prove_inclusion(index))
            leaf = self._sequencer.leaf(index)
        return {"index": index, "proof": proof.decode(), "leaf": base64.b64encode(leaf).decode()}

    def finish(self) -> None:
        """Publish what is durable and take nothing more: after this the process may end at any moment."""
        with self._lock:
            self._is_finished = True
            # Witnesses that do not answer now are asked again when the study goes on.
            with suppress(QuorumNotMet):
                if self._sequencer.published_size < self._sequencer.size:
                    self._sequencer.publish()
            self.changed.notify_all()

    def prove_inclusion(self, index: int) -> str:
        with self._lock:
            proof = format_proof(self._sequencer.prove_inclusion(index))
        return proof.decode()

    def prove_consistency(self, old: int, new: int) -> list[bytes]:
        """The proof that the published tree of `new` entries extends that of `old`."""
        with self._lock:
            if not 0 < old <= new <= self._sequencer.published_size:
                raise Refused(
                    "size", f"sizes {old} and {new}: want 0 < old <= new <= {self._sequencer.published_size}"
                )
            return self._sequencer.prove_consistency(old, new)

    def publish_forever(self) -> None:
        """Body of the publishing thread. It ends the process rather than let an unwitnessed record grow."""
        failures = 0
        while True:
            with self._lock:
                try:
                    if self._sequencer.published_size < self._sequencer.size:
                        self._sequencer.publish()
                        failures = 0
                        self.changed.notify_all()
                    elif not self.changed.wait(HEARTBEAT_S) and self._sequencer.size:
                        self._sequencer.heartbeat()
                    continue
                except QuorumNotMet as error:
                    failures += 1
                    if failures >= PUBLISH_TRIES:
                        self._on_fatal(error)
                except Exception as error:  # noqa: BLE001 - the fatal handler says what it was and ends the process
                    self._on_fatal(error)
            time.sleep(PUBLISH_PAUSE_S)


def _draft_of(seen: Sighting) -> Draft:
    body: dict[str, Any] = {
        "code": seen.code,
        "who": seen.who[:64],
        "what": seen.what[:2_000],
        "evidence": list(seen.evidence),
        "attempt": "",
    }
    return Draft(author="monitor", kind="alarm", body=body, refs=seen.evidence)
