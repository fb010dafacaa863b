"""A specimen: a study as it lies there, read once, with whatever private keys can be read beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from aar.formats.checkpoint import Checkpoint, format_checkpoint_text
from aar.formats.entry import Leaf, parse_leaf
from aar.formats.errors import FormatError
from aar.formats.keys import Signer, parse_skey, parse_vkey
from aar.formats.note import Note, format_note
from aar.formats.policy import Policy, is_quorum_met, parse_policy
from aar.formats.proof import TlogProof, format_proof
from aar.outside.record.tree import Tree, hash_leaf
from aar.outside.study_directory import StudyDirectory
from aar.verify.reader import RecordReader

LOG, WITNESS = "log", "witness"


class NoPlace(Exception):
    """This study has nothing that the attack could be tried on; the message says what is missing."""


@dataclass(frozen=True)
class Specimen:
    """What is published, and the keys. Nothing here changes; attacks work on a `Forgery` of it."""

    policy_bytes: bytes
    files: Mapping[str, bytes]
    leaves: tuple[bytes, ...]
    log: Signer | None
    witnesses: tuple[Signer, ...]
    authors: Mapping[str, Signer]
    """Private keys by author, of those whom the study's first entry enrols."""

    @cached_property
    def policy(self) -> Policy:
        return parse_policy(self.policy_bytes.decode())

    @cached_property
    def entries(self) -> tuple[Leaf, ...]:
        return tuple(parse_leaf(leaf) for leaf in self.leaves)

    @cached_property
    def tree(self) -> Tree:
        return Tree(map(hash_leaf, self.leaves))

    @cached_property
    def roles(self) -> Mapping[str, str]:
        opened: Any = self.entries[0].signed.entry.body
        return {one["name"]: one["role"] for one in opened["keys"]}

    @property
    def checkpoint(self) -> bytes:
        """The published checkpoint's note."""
        return self.files["checkpoint"]

    @property
    def published_s(self) -> int:
        """Unix seconds of the newest entry: the time that forged cosignatures state."""
        return self.entries[-1].received_ms // 1000 + 1

    @cached_property
    def keys(self) -> frozenset[str]:
        """Whose keys are at hand: "log", "witness" (enough of them for the quorum), and roles."""
        found = {self.roles[name] for name in self.authors}
        if self.log is not None:
            found.add(LOG)
        at_hand = {
            name for name, key in self.policy.witnesses if any(key == one.vkey for one in self.witnesses)
        }
        if is_quorum_met(self.policy, at_hand):
            found.add(WITNESS)
        return frozenset(found)

    @cached_property
    def publishable_sizes(self) -> tuple[int, ...]:
        """Sizes at which the log may have stopped: a submission and its charge are one batch."""
        inside = {leaf.index for leaf in self.entries if leaf.signed.entry.kind == "budget-charged"}
        return tuple(size for size in range(1, len(self.leaves) + 1) if size not in inside)

    def note_at(self, size: int) -> bytes:
        """The checkpoint that was signed and cosigned when the log had `size` entries, made again."""
        if size == len(self.leaves):
            return self.checkpoint
        return sign_checkpoint(
            Checkpoint(self.policy.log.name, size, self.tree.root(size)),
            self.log,
            self.witnesses,
            self.entries[size - 1].received_ms // 1000 + 1,
        )

    def receipt_of(self, index: int, size: int) -> bytes:
        """The proof of one entry that its author was given when the log had `size` entries, made again."""
        hashes = tuple(self.tree.prove_inclusion(index, size))
        return format_proof(TlogProof(index, hashes, self.note_at(size), extra=self.leaves[index]))


def sign_checkpoint(
    checkpoint: Checkpoint, log: Signer | None, witnesses: Iterable[Signer], unix_s: int
) -> bytes:
    """A checkpoint's note with the log's signature and these cosignatures."""
    if log is None:
        raise NoPlace("the log's key is not at hand")
    text = format_checkpoint_text(checkpoint)
    return format_note(Note(text, (log.sign(text), *(one.cosign(text, unix_s) for one in witnesses))))


def read_specimen(directory: Path, more_keys: Iterable[Signer] = ()) -> Specimen:
    """Read the study in `directory`, which must verify; nothing there is written.

    `more_keys` are those that do not lie in the study, such as the reviewer's.
    """
    study = StudyDirectory(directory)
    leaves = tuple(RecordReader(study.record).leaves())
    files = {
        str(path.relative_to(study.record)): path.read_bytes()
        for path in sorted(study.record.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }
    policy_bytes = study.policy.read_bytes()
    policy = parse_policy(policy_bytes.decode())
    opened: Any = parse_leaf(leaves[0]).signed.entry.body
    enrolled = {parse_vkey(one["vkey"]): one["name"] for one in opened["keys"]}
    log, witnesses, authors = None, [], {}
    for signer in (*_signers(study), *more_keys):
        key = signer.vkey
        if key == policy.log:
            log = signer
        elif any(key == witness for _name, witness in policy.witnesses):
            witnesses.append(signer)
        elif key in enrolled:
            authors[enrolled[key]] = signer
    return Specimen(policy_bytes, files, leaves, log, tuple(witnesses), authors)


def _signers(study: StudyDirectory) -> list[Signer]:
    """Every private key in the study's folders that this user may read."""
    found = []
    for folder in (study.gateway, study.operator, study.evaluator, study.witness):
        try:
            paths = sorted(folder.glob("*.key"))
        except OSError:
            continue
        for path in paths:
            try:
                found.append(parse_skey(path.read_text("ascii").rstrip("\n")))
            except (OSError, UnicodeDecodeError, FormatError):
                continue  # an auditor has only the public part: what cannot be read is not at hand
    return found


def witness_state_path(origin: str) -> str:
    """Where the witness beside a study keeps what it saw of the log, from the study's directory."""
    return f"witness/state/{hashlib.sha256(origin.encode()).hexdigest()}/checkpoint"
