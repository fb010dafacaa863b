"""A forge: builds whole study directories and signs any lie in them, with every key there is.

`honest()` drafts a small study that holds together. A test alters a draft, a run or a file, and the forge
signs what comes of it: the log's key, the witness's key and every author's key are at hand. Trees, tiles and
splits are computed here in the slow, plain way of the specifications, apart from the code under test.
"""

from __future__ import annotations

import copy
import hashlib
import hmac
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from aar.formats.checkpoint import Checkpoint, format_checkpoint_text
from aar.formats.commitments import commit_payload, commit_secret, commit_split, payload_nonce, split_nonce
from aar.formats.entry import Entry, format_entry_text, format_leaf
from aar.formats.keys import COSIGNATURE, Signer, format_vkey
from aar.formats.note import Note, Signature, format_note
from aar.formats.policy import Group, Policy, format_policy
from aar.formats.strict import encode_base64
from aar.verify.interval import (
    Interval,
    crossed_bootstrap,
    decimal4,
    difference,
    difference_interval,
    interval_of,
    score,
)
from aar.verify.payload import Payload, SplitCounts, format_payload
from aar.verify.report import Report
from aar.verify.splits import Pool
from aar.verify.study import verify_study

ORIGIN = "aar.test/forge"
START_MS = 1_700_000_000_000
SECRET = bytes(range(100, 132))
ITEMS, SEALED, LABELLED, UNLABELLED = 40, 12, 8, 8
SEEDS, REPLICATES, DRAWS = 2, 2, 40
STEP = "0.0500"
POOL = Pool(items=ITEMS, sealed=SEALED, labelled=LABELLED, unlabelled=UNLABELLED, tested=0, group=1)
FRESH = Pool(items=0, sealed=SEALED, labelled=LABELLED, unlabelled=UNLABELLED, tested=ITEMS, group=1)
GROUPED = Pool(items=60, sealed=10, labelled=7, unlabelled=8, tested=0, group=4)
COMPARED = ("difference", "difference_low", "difference_high")
BASELINES = {
    "weak": "0.4500",
    "ceiling": "0.9700",
    "gap": "0.5200",
    "se": "0.0100",
    "vanilla": "0.2000",
    "spread": "0.0500",
}

# What a study and a task say that have no wishes of their own.
STUDY_TERMS: dict[str, Any] = {
    "allocation": {"policy": "directed", "directions": []},
    "oversight": {"purpose": "", "human": {}, "limits": [], "downstream": []},
    "comparison": {},
    "programs": [],
    "models": {},
    "monitor": {},
    "limits": [],
}
TASK_TERMS: dict[str, Any] = {"scope": {}, "limits": {}, "priority": 0, "risk": "low"}

ROLES = {
    "operator": "operator",
    "reviewer": "reviewer",
    "gateway": "gateway",
    "evaluator": "evaluator",
    "monitor": "monitor",
    "r1": "researcher",
    "r2": "researcher",
}


def seed_of(name: str) -> bytes:
    return hashlib.sha256(b"forge key of " + name.encode()).digest()


LOG = Signer(ORIGIN, seed_of("log"))
WITNESS = Signer("witness-local", seed_of("witness"), COSIGNATURE)
SECOND_WITNESS = Signer("witness-second", seed_of("second witness"), COSIGNATURE)
STRANGER = Signer("stranger", seed_of("stranger"))


# Trees and tiles, by the words of RFC 6962 section 2.1 and C2SP tlog-tiles.


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def tree_hash(leaves: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962 over the leaves' bytes."""
    if not leaves:
        return sha256(b"")
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0])
    middle = 1
    while middle * 2 < len(leaves):
        middle *= 2
    return sha256(b"\x01" + tree_hash(leaves[:middle]) + tree_hash(leaves[middle:]))


def tile_name(kind: str, index: int, width: int) -> str:
    """Only for logs of fewer than 256,000 entries."""
    return f"tile/{kind}/{index:03d}" + ("" if width == 256 else f".p/{width}")


def bundle(leaves: Sequence[bytes]) -> bytes:
    return b"".join(len(leaf).to_bytes(2, "big") + leaf for leaf in leaves)


def tiles(leaves: Sequence[bytes]) -> dict[str, bytes]:
    """Every bundle and tile of a log, by its path."""
    found = {}
    for start in range(0, len(leaves), 256):
        part = leaves[start : start + 256]
        found[tile_name("entries", start // 256, len(part))] = bundle(part)
    level, span = 0, 1
    while len(leaves) >= span:
        hashes = [tree_hash(leaves[at : at + span]) for at in range(0, len(leaves) - span + 1, span)]
        for start in range(0, len(hashes), 256):
            part = hashes[start : start + 256]
            found[tile_name(str(level), start // 256, len(part))] = b"".join(part)
        level, span = level + 1, span * 256
    return found


# Splits and masks.


def mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def naive_sealed(secret: bytes, items: int, sealed: int, group: int = 1) -> list[int]:
    groups = {item // group for item in range(items)}
    found: list[int] = []
    for _place, number in sorted((mac(secret, f"aar-sealed/v1\n{one}\n"), one) for one in groups):
        if len(found) < sealed:
            found += [item for item in range(items) if item // group == number]
    return sorted(found)


def naive_seeds(secret: bytes, tier: str, digest: str, count: int) -> list[int]:
    return [
        int(mac(secret, f"aar-seed/v1\n{tier}\n{digest}\n{number}\n").hex()[:12], 16)
        for number in range(count)
    ]


def naive_tested(seed: int, replicate: int, public: Sequence[int], taught: int, group: int = 1) -> list[int]:
    groups = sorted({item // group for item in public})
    stream = hashlib.shake_256(f"aar-split/v1\n{seed}\n{replicate}\n".encode()).digest(8 * len(groups))
    places = [(stream[8 * at : 8 * at + 8], number) for at, number in enumerate(groups)]
    order = [item for _place, number in sorted(places) for item in public if item // group == number]
    if group == 1:
        return order[taught:]
    # The group that the last item taught is of is used up with it.
    return [
        item for at, item in enumerate(order) if item // group not in {i // group for i in order[:taught]}
    ]


def mask_of(items: Sequence[int]) -> int:
    mask = 0
    for item in items:
        mask |= 2**item
    return mask


def is_right(share: float, *words: object) -> bool:
    """Whether a classifier of that accuracy gets an item right: the same every time."""
    return sha256(repr(words).encode())[0] < share * 256


@dataclass
class Run:
    """One official run: what the evaluator knows of it. Alter what you like before it is signed."""

    researcher: str
    digest: str
    tier: str
    accuracy: float
    problem: str = "masks"
    pool: Pool = POOL
    seeds: list[int] = field(default_factory=list)
    payloads: dict[str, Payload] = field(default_factory=dict)
    nonces: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        pool = self.pool
        label = f"heldout:{self.problem}" if self.tier == "heldout" else self.tier
        self.seeds = naive_seeds(SECRET, label, self.digest, SEEDS)
        sealed = list(range(pool.tested - pool.sealed, pool.tested))
        if pool.items:
            sealed = naive_sealed(SECRET, pool.items, pool.sealed, pool.group)
        public = [item for item in range(pool.items or pool.tested) if item not in sealed]
        for half in ("public", "sealed"):
            splits = []
            for seed in self.seeds:
                for replicate in range(REPLICATES):
                    tested = sealed
                    if half == "public":
                        taught = pool.labelled + pool.unlabelled
                        tested = public
                        if pool.items:
                            tested = naive_tested(seed, replicate, public, taught, pool.group)
                    splits.append(self._counts(seed, replicate, tested))
            width = pool.items or pool.tested
            self.payloads[half] = Payload(half, width, tuple(splits), not pool.items)
            self.nonces[half] = payload_nonce(SECRET, half=half, label=label, digest=self.digest)

    def _counts(self, seed: int, replicate: int, tested: Sequence[int]) -> SplitCounts:
        masks = [
            mask_of([item for item in tested if is_right(share, who, item, seed, replicate)])
            for who, share in (
                ("student", self.accuracy),
                ("weak", 0.45),
                ("ceiling", 0.97),
                ("vanilla", 0.55),
            )
        ]
        return SplitCounts(seed, replicate, mask_of(tested), *masks)

    def data(self, half: str) -> bytes:
        return format_payload(self.payloads[half])

    def commitments(self) -> dict[str, str]:
        return {
            half: commit_payload(
                half=half, nonce=self.nonces[half], payload_sha256=sha256(self.data(half)).hex()
            )
            for half in ("public", "sealed")
        }

    def exact(self, half: str) -> dict[str, str]:
        payload, group = self.payloads[half], self.pool.group
        interval = interval_of(payload, draws=DRAWS, group=group)
        told = {"pgr": decimal4(score(payload).pgr), **ends("", interval)}
        if self.tier not in ("confirm", "heldout"):
            return {**dict.fromkeys(COMPARED, ""), **told}
        told["difference"] = decimal4(difference(payload))
        return {**told, **ends("difference_", difference_interval(payload, draws=DRAWS, group=group))}

    def rung(self) -> dict[str, Any]:
        """What is released if this run is better than all before it: whole steps, or the exact values."""
        if not self.pool.items:
            exact = self.exact("public")
            return {**{key: exact[key] for key in ("pgr", "low", "high")}, "improved": 1}
        step, group = Fraction(STEP), self.pool.group
        interval = crossed_bootstrap(self.payloads["public"], draws=DRAWS, group=group)
        rung = round(score(self.payloads["public"]).pgr / step) * step
        low = min(interval.low // step * step, rung)
        high = max(-(-interval.high // step) * step, rung)
        return {"pgr": decimal4(rung), "low": decimal4(low), "high": decimal4(high), "improved": 1}

    def opened(self, half: str) -> dict[str, Any]:
        """The body of score-revealed, but for the receipt."""
        data = self.data(half)
        blob = {"sha256": sha256(data).hex(), "size": len(data), "type": "application/json"}
        return {"half": half, "nonce": self.nonces[half], "blob": blob, **self.exact(half)}


def ends(prefix: str, interval: Interval) -> dict[str, str]:
    return {f"{prefix}low": decimal4(interval.low), f"{prefix}high": decimal4(interval.high)}


@dataclass
class Draft:
    """An entry before it is signed. `None` means: what an honest author and log would write there."""

    label: str
    author: str
    kind: str
    body: Any
    refs: list[Any]
    signers: list[Signer]
    index: int | None = None
    received_ms: int | None = None
    at: int | None = None
    origin: str = ORIGIN
    seq: int | None = None
    prev: str | None = None
    raw: bytes | None = None
    isolation: str = ""
    edit: Callable[[bytes], bytes] = bytes


@dataclass(frozen=True)
class At:
    """In a body or in refs: the index of the entry with that label."""

    label: str


@dataclass(frozen=True)
class DigestOf:
    """In a body: the text digest of the entry with that label."""

    label: str


class Forge:
    """A study in the making: drafts, blobs, keys, policy; `files()` signs them, `write()` puts them down."""

    def __init__(self, pool: Pool = POOL) -> None:
        self.pool = pool
        self.keys = {name: Signer(name, seed_of(name)) for name in ROLES}
        self.drafts: list[Draft] = []
        self.blobs: dict[str, bytes] = {}
        self.runs: dict[str, Run] = {}
        self.policy = Policy.with_one_witness(LOG.vkey, "local", WITNESS.vkey)

    def add(
        self,
        label: str,
        author: str,
        kind: str,
        body: Any,
        *,
        cosigners: Sequence[str] = (),
        before: str = "",
    ) -> Draft:
        """Draft one entry, at the end or before the entry labelled `before`."""
        signers = [self.keys[name] for name in (author, *cosigners)]
        draft = Draft(label, author, kind, body, [], signers)
        place = self.position(before) if before else len(self.drafts)
        self.drafts.insert(place, draft)
        return draft

    def position(self, label: str) -> int:
        return next(number for number, draft in enumerate(self.drafts) if draft.label == label)

    def __getitem__(self, label: str) -> Draft:
        return self.drafts[self.position(label)]

    def drop(self, *labels: str) -> None:
        self.drafts = [draft for draft in self.drafts if draft.label not in labels]

    def blob(self, data: bytes) -> str:
        digest = sha256(data).hex()
        self.blobs[digest] = data
        return digest

    def leaves(self) -> list[bytes]:
        """Sign all drafts, in their order."""
        leaves: list[bytes] = []
        chains: dict[str, tuple[int, str]] = {}
        digests: dict[str, str] = {}
        for number, draft in enumerate(self.drafts):
            if draft.raw is not None:
                leaves.append(draft.raw)
                continue
            seq, prev = chains.get(draft.author, (0, ""))
            entry = Entry(
                draft.origin,
                draft.author,
                seq if draft.seq is None else draft.seq,
                prev if draft.prev is None else draft.prev,
                draft.kind,
                tuple(self._resolved(draft.refs, digests)),
                self._resolved(draft.body, digests),
                START_MS + number if draft.at is None else draft.at,
                draft.isolation,
            )
            text = format_entry_text(entry)
            note = format_note(Note(text, tuple(signer.sign(text) for signer in draft.signers)))
            index = number if draft.index is None else draft.index
            received_ms = START_MS + 1000 * number if draft.received_ms is None else draft.received_ms
            leaves.append(draft.edit(format_leaf(index, received_ms, note)))
            digests[draft.label] = sha256(text.encode()).hex()
            chains[draft.author] = (entry.seq + 1, digests[draft.label])
        return leaves

    def _resolved(self, value: Any, digests: Mapping[str, str]) -> Any:
        if isinstance(value, At):
            return self.position(value.label)
        if isinstance(value, DigestOf):
            return digests[value.label]
        if isinstance(value, dict):
            return {key: self._resolved(one, digests) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._resolved(one, digests) for one in value]
        return value() if callable(value) else value

    def files(self, leaves: Sequence[bytes] | None = None) -> dict[str, bytes]:
        """Every file of the study directory, by its path in it."""
        leaves = self.leaves() if leaves is None else leaves
        files = {f"record/{path}": data for path, data in tiles(leaves).items()}
        blobs = dict(self.blobs)
        for run in self.runs.values():
            for half in run.payloads:
                data = run.data(half)
                blobs[sha256(data).hex()] = data
        files |= {f"record/blobs/{digest}": data for digest, data in blobs.items()}
        files["record/checkpoint"] = checkpoint(leaves)
        files[WITNESS_STATE] = files["record/checkpoint"]
        files["policy"] = format_policy(self.policy).encode()
        return files

    def write(self, directory: Path, files: Mapping[str, bytes] | None = None) -> Path:
        """Put the files into a new directory."""
        return write(directory, self.files() if files is None else files)


WITNESS_STATE = f"witness/state/{sha256(ORIGIN.encode()).hex()}/checkpoint"


def write(directory: Path, files: Mapping[str, bytes]) -> Path:
    """Put files into a directory, which need not exist."""
    directory.mkdir(parents=True, exist_ok=True)
    for path, data in files.items():
        os.makedirs((directory / path).parent, exist_ok=True)
        (directory / path).write_bytes(data)
    return directory


def checkpoint(
    leaves: Sequence[bytes],
    *,
    size: int | None = None,
    root: bytes | None = None,
    origin: str = ORIGIN,
    log: Signer = LOG,
    witnesses: Sequence[Signer] = (WITNESS,),
    unix_s: int | None = None,
    more: Sequence[Signature] = (),
) -> bytes:
    """A signed and cosigned checkpoint; a true one, of when the last entry came, unless told otherwise."""
    unix_s = START_MS // 1000 + len(leaves) - 1 if unix_s is None else unix_s
    size = len(leaves) if size is None else size
    text = format_checkpoint_text(
        Checkpoint(origin, size, tree_hash(leaves[:size]) if root is None else root)
    )
    lines = (log.sign(text), *(one.cosign(text, unix_s) for one in witnesses), *more)
    return format_note(Note(text, lines))


def two_witnesses(*, quorum: int) -> Policy:
    """A policy with both witnesses, of which `quorum` are needed."""
    both = (("local", WITNESS.vkey), ("second", SECOND_WITNESS.vkey))
    return Policy(LOG.vkey, both, (Group("both", quorum, ("local", "second")),), "both")


# The honest study.


def honest(pool: Pool = POOL) -> Forge:
    """A small study that holds: two researchers, four submissions, all of them opened at the end."""
    forge = Forge(pool)
    forge.add("opened", "operator", "study-opened", opening(pool), cosigners=["reviewer"])
    forge.add("task-walk", "reviewer", "task-opened", task("walk", 3))
    forge.add("task-search", "reviewer", "task-opened", task("search", 2))
    for researcher, name in (("r1", "walk"), ("r2", "search")):
        lease = {
            "task": name,
            "researcher": researcher,
            "until_ms": START_MS + 10**6,
            "epoch": 1,
            "direction": "",
        }
        forge.add(f"lease-{name}", "gateway", "task-leased", lease)
        steps = [planned()]
        forge.add(f"plan-{name}", researcher, "plan-declared", {"task": name, "steps": steps, "amends": -1})
    hand_in(forge, "first", "r1", "walk", 0.7)
    first = forge.runs["first"].rung()
    hand_in(forge, "better", "r1", "walk", 0.95)
    repeated = {**forge.runs["better"].rung(), "improved": 0} if pool.items else None
    hand_in(forge, "worse", "r1", "walk", 0.6, released=repeated)
    hand_in(forge, "other", "r2", "search", 0.8)
    submit(forge, "failing", "r2", "search")
    forge.add("receipt-failing", "evaluator", "score-receipt", failed_receipt(forge, "failing"))
    confirm(forge, "sure", "better")
    numbers = {key: first[key] for key in ("pgr", "low", "high")}
    forge.add("result", "r1", "finding", finding(numbers=numbers, receipts=[At("receipt-first")]))
    idea = finding(type="hypothesis", parents=[At("result")])
    forge.add("hypothesis", "r2", "finding", idea).refs = [At("result")]
    forge.add("comment", "r2", "comment", {"on": At("result"), "text": "well done"})
    forge.add("vote", "r2", "vote", {"on": At("result"), "value": 1})
    proposal = {"title": "more of it", "direction": "north", "reason": "it works"}
    forge.add("proposal", "r2", "task-proposed", proposal)
    forge.add("refusal", "reviewer", "task-refused", {"proposal": At("proposal"), "reason": "no time"})
    alarm = {"code": "odd", "who": "r2", "what": "it looked odd", "evidence": [At("comment")], "attempt": ""}
    forge.add("alarm", "monitor", "alarm", alarm)
    for name, researcher in (("walk", "r1"), ("search", "r2")):
        over = {"task": name, "researcher": researcher, "outcome": "done", "reason": ""}
        forge.add(f"over-{name}", "gateway", "task-closed", over)
    digest = forge["submission-first"].body["digest"]
    forge.runs["elsewhere"] = Run("r1", digest, "heldout", 0.6, "other", POOL)
    forge.add(
        "receipt-elsewhere", "evaluator", "score-receipt", receipt(forge, "elsewhere", "first", released={})
    )
    forge.add("closed", "operator", "study-closed", closing(pool), cosigners=["reviewer"])
    again = Run("r1", forge["submission-first"].body["digest"], "reproduce", 0.7, pool=pool)
    forge.runs["again"] = again
    forge.add("receipt-again", "evaluator", "score-receipt", receipt(forge, "again", "first", released={}))
    for run in ("first", "better", "worse", "other", "sure", "elsewhere", "again"):
        for half in ("public", "sealed"):
            reveal(forge, run, half)
    forge.add("decision", "reviewer", "decision", decision())
    return forge


def sealed_text(pool: Pool) -> str:
    items = list(range(pool.tested - pool.sealed, pool.tested))
    if pool.items:
        items = naive_sealed(SECRET, pool.items, pool.sealed, pool.group)
    return encode_base64(mask_of(items).to_bytes(((pool.items or pool.tested) + 7) // 8, "little"))


def opening(pool: Pool = POOL) -> dict[str, Any]:
    sealed = sealed_text(pool)
    keys = [
        {"name": name, "role": role, "vkey": format_vkey(Signer(name, seed_of(name)).vkey)}
        for name, role in ROLES.items()
    ]
    return {
        "name": "forged",
        "problem": "masks",
        "problem_digest": "ab" * 32,
        "statement": "guess",
        "log": format_vkey(LOG.vkey),
        "keys": keys,
        "researchers": ["r1", "r2"],
        "witnesses": [format_vkey(WITNESS.vkey)],
        "quorum": 1,
        "anchors": [],
        "anchors_needed": 0,
        "budget": {"submissions": 5, "confirmations": 1, "seconds": 100},
        "commitments": {
            "seed_secret": commit_secret(SECRET),
            "split": commit_split(split_nonce(SECRET), sealed),
        },
        "pool": asdict(pool),
        "baselines": dict(BASELINES),
        "heldout": [{"name": "other", "digest": "ef" * 32, "pool": asdict(POOL), "baselines": BASELINES}],
        "release": {"rule": "ladder", "step": STEP} if pool.items else {"rule": "exact", "step": "0.0000"},
        "runs": {"seeds": SEEDS, "replicates": REPLICATES},
        "interval": {
            "method": "crossed-bootstrap" if pool.items else "t-over-seeds",
            "draws": DRAWS,
            "level": "0.95",
        },
        **copy.deepcopy(STUDY_TERMS),
        "sandbox": {
            "backend": "none",
            "verdict": "ok",
            "probes": 1,
            "digest": "cd" * 32,
            "identity": "own-uid",
        },
    }


def closing(pool: Pool = POOL) -> dict[str, Any]:
    return {
        "reason": "tasks-done",
        "seed_secret": SECRET.hex(),
        "split_nonce": split_nonce(SECRET),
        "sealed": sealed_text(pool),
    }


def task(name: str, submissions: int) -> dict[str, Any]:
    return {
        "task": name,
        "title": name,
        "direction": "onwards",
        "workflow": "free",
        "steps": [],
        "submissions": submissions,
        **copy.deepcopy(TASK_TERMS),
    }


def planned(name: str = "s1", *families: str, submissions: int = 0) -> dict[str, Any]:
    """A step of a plan."""
    return {"name": name, "what": "try", "families": list(families), "submissions": submissions}


def finding(**changes: Any) -> dict[str, Any]:
    """A finding's body; a result about nothing unless told otherwise."""
    body = {
        "type": "result",
        "title": "it",
        "text": "so",
        "method": "",
        "numbers": {},
        "receipts": [],
        "parents": [],
    }
    return {**body, **changes}


def decision(**changes: Any) -> dict[str, Any]:
    """A decision's body: publish the hypothesis, which claims no score, on a checklist that holds."""
    body = {
        "decision": "publish",
        "finding": At("hypothesis"),
        "finding_digest": DigestOf("hypothesis"),
        "checklist": [{"item": "verified", "outcome": "pass", "detail": ""}],
        "claimed": "",
        "reproduced": "",
        "sealed": "",
        "override": "",
        "note": "",
    }
    return {**body, **changes}


def publication(forge: Forge, **changes: Any) -> dict[str, Any]:
    """A decision's body: publish the result, with the values that bear it out side by side."""
    body = {
        "finding": At("result"),
        "finding_digest": DigestOf("result"),
        "claimed": lambda: forge["result"].body["numbers"]["pgr"],
        "reproduced": lambda: forge.runs["again"].exact("public")["pgr"],
        "sealed": lambda: forge.runs["first"].exact("sealed")["pgr"],
    }
    return decision(**{**body, **changes})


def submit(forge: Forge, run: str, researcher: str, task: str, *, before: str = "") -> str:
    """Draft a submission and its charge; the digest of its snapshot."""
    data = f"snapshot of {run}".encode()
    digest = forge.blob(data)
    body = {
        "task": task,
        "researcher": researcher,
        "plan": At(f"plan-{task}"),
        "step": "s1",
        "name": f"method {run}",
        "families": [],
        "digest": digest,
        "size": len(data),
        "request": f"request-{run}",
    }
    forge.add(f"submission-{run}", "gateway", "submission", body, before=before)
    charge: dict[str, Any] = {"researcher": researcher, "task": task, "what": "submissions", "amount": 1}
    charge |= {"submission": At(f"submission-{run}"), "usage": {}}
    forge.add(f"charge-{run}", "gateway", "budget-charged", charge, before=before)
    return digest


def hand_in(
    forge: Forge,
    run: str,
    researcher: str,
    task: str,
    accuracy: float,
    *,
    released: Any = None,
    before: str = "",
) -> None:
    """Draft a submission, its charge and the receipt of its explored run."""
    digest = submit(forge, run, researcher, task, before=before)
    made = forge.runs[run] = Run(researcher, digest, "explore", accuracy, pool=forge.pool)
    body = receipt(forge, run, run, released=made.rung() if released is None else released)
    forge.add(f"receipt-{run}", "evaluator", "score-receipt", body, before=before)


def confirm(forge: Forge, run: str, submission: str, *, before: str = "") -> None:
    """Draft a confirmation of a submission: its charge, and the receipt of a run with new seeds."""
    body = forge[f"submission-{submission}"].body
    charge = {"researcher": body["researcher"], "task": body["task"], "what": "confirmations", "amount": 1}
    charge |= {"submission": At(f"submission-{submission}"), "usage": {}}
    forge.add(f"charge-{run}", "gateway", "budget-charged", charge, before=before)
    made = forge.runs[run] = Run(body["researcher"], body["digest"], "confirm", 0.9, pool=forge.pool)
    told = receipt(forge, run, submission, released=lambda: made.exact("public"))
    forge.add(f"receipt-{run}", "evaluator", "score-receipt", told, before=before)


def receipt(forge: Forge, run: str, submission: str, *, released: Any) -> dict[str, Any]:
    made = forge.runs[run]
    return {
        "submission": At(f"submission-{submission}"),
        "digest": made.digest,
        "researcher": made.researcher,
        "tier": made.tier,
        "problem": made.problem,
        "outcome": "scored",
        "reason": "",
        "seeds": lambda: list(made.seeds),
        "released": released,
        "commitments": made.commitments,
    }


def failed_receipt(forge: Forge, submission: str) -> dict[str, Any]:
    body = forge[f"submission-{submission}"].body
    return {
        "submission": At(f"submission-{submission}"),
        "digest": body["digest"],
        "researcher": body["researcher"],
        "tier": "explore",
        "problem": "masks",
        "outcome": "failed",
        "reason": "wall",
        "seeds": naive_seeds(SECRET, "explore", body["digest"], SEEDS),
        "released": {},
        "commitments": {},
    }


def reveal(forge: Forge, run: str, opened: str, /, *, before: str = "", **changes: Any) -> Draft:
    made = forge.runs[run]

    def body() -> dict[str, Any]:
        told = made.opened(opened)
        released = forge[f"receipt-{run}"].body["released"]
        if opened == "public" and made.tier == "explore" and not released["improved"]:
            # No interval of it was ever released, so none is stated.
            told |= {"low": "", "high": ""}
        return {"receipt": forge.position(f"receipt-{run}"), **told, **changes}

    return forge.add(f"reveal-{run}-{opened}", "evaluator", "score-revealed", body, before=before)


def running(pool: Pool = POOL) -> Forge:
    """The same study before its end: nothing was opened, no secret is known, nothing was decided."""
    forge = honest(pool)
    last = forge.position("receipt-elsewhere")
    forge.drafts = forge.drafts[:last]
    del forge.runs["again"], forge.runs["elsewhere"]
    return forge


def unisolated() -> Forge:
    """A study whose researchers run without a sandbox: they lease, plan and talk, and nothing is scored."""
    forge = running()
    scored = ("submission", "charge", "receipt", "confirmation", "result", "hypothesis")
    forge.drafts = [draft for draft in forge.drafts if not draft.label.startswith(scored)]
    forge.runs.clear()
    for label in ("comment", "vote"):
        forge[label].body["on"] = At("insight")
    insight = finding(type="insight", numbers={}, receipts=[])
    forge.add("insight", "r1", "finding", insight, before="comment")
    forge["opened"].body["sandbox"] |= {"backend": "bare", "verdict": "none"}
    for draft in forge.drafts:
        draft.isolation = "none"
    return forge


def with_comments(count: int) -> Forge:
    """The honest study with that many more entries."""
    forge = honest()
    for number in range(count):
        body = {"on": At("result"), "text": f"remark {number}"}
        forge.add(f"remark-{number}", "r2", "comment", body, before="closed")
    return forge


# Asking the verifier, and holding it to its answer.


def verdict_on(
    forge: Forge, directory: Path, *, files: Mapping[str, bytes] | None = None, **options: Any
) -> Report:
    """Write the study down and verify it."""
    return verify_study(forge.write(directory / "study", files), **options)


def assert_ok(report: Report) -> None:
    assert report.findings == []
    assert report.verdict == "ok"


def assert_only(report: Report, code: str, place: int, says: str, *, resource: str = "") -> None:
    """Exactly one thing was found: of this code, at this entry (-1 for none), for this reason."""
    assert [(one.code, one.first_index) for one in report.findings] == [(code, place)], report.findings
    assert says in report.findings[0].expected, report.findings[0]
    assert resource in ("", report.findings[0].resource)
    assert report.verdict == "tampered"
