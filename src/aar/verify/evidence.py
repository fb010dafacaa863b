"""Evidence: files that show a finding to somebody who has neither the copy nor any trust in who found it.

    python -m aar.verify.evidence DIR --policy FILE

`aar verify --evidence DIR` writes a folder per finding. Signatures and Merkle proofs decide what it shows:

- shown: the log's own signatures bear the finding out (two histories, an entry left out, a forged author);
- committed: the log signed for this entry; what is wrong with it takes more of the record to see;
- reported: bytes of a copy are damaged or missing; no signature says so, and nobody is accused by it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from aar.formats.checkpoint import Checkpoint, open_checkpoint
from aar.formats.cosignature import cosigned_at
from aar.formats.errors import FormatError
from aar.formats.policy import Policy, is_quorum_met, parse_policy
from aar.formats.prefix import parse_prefix
from aar.formats.proof import TlogProof, parse_proof
from aar.verify.entry_check import EntryCheck
from aar.verify.log_check import Bundle, LogCheck
from aar.verify.merkle import InvalidProof, check_consistency, check_inclusion, leaf_hash
from aar.verify.prover import NoProof
from aar.verify.receipt import ReceiptRefused, check_receipt
from aar.verify.report import HELD, HERE, PREFIX, SEEN, Finding, Report
from aar.verify.resources import plain_bytes

SHOWN, COMMITTED, REPORTED = "shown", "committed", "reported"
MAX_EVIDENCE_BYTES = 1 << 25
_NO_ENTRY = (
    "ROLLBACK",
    "FORK",
    "CHECKPOINT_SIG",
    "POLICY",
    "TILE_HASH",
    "BUNDLE_WIDTH",
    "UNEXPECTED_RESOURCE",
)


def enclose_entries(report: Report, log: LogCheck) -> None:
    """Add to each finding about an entry the receipts that show what the log signed for there."""
    if not log.is_sound:
        return
    for place, finding in enumerate(report.findings):
        if finding.code not in _NO_ENTRY and 0 <= finding.first_index < log.checkpoint.size:
            report.findings[place] = _with_entries(finding, log)


def _with_entries(finding: Finding, log: LogCheck) -> Finding:
    enclosed: dict[str, bytes] = {}
    for index in sorted({0, finding.first_index}):
        try:
            enclosed[name_of(index)] = log.prove_inclusion(index)
        except NoProof:
            continue
    return Finding(
        code=finding.code,
        resource=finding.resource,
        expected=finding.expected,
        got=finding.got,
        first_index=finding.first_index,
        evidence={**finding.evidence, **enclosed},
    )


def name_of(index: int) -> str:
    """The file of an entry's receipt."""
    return f"entry-{index}.tlog-proof"


def write_evidence(report: Report, directory: Path, policy: bytes) -> int:
    """A folder for each finding, in a directory that is new or empty; returns how many. Raises `OSError`."""
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise FileExistsError(17, "it is not empty: name a new directory", str(directory))
    for number, finding in enumerate(report.findings):
        folder = directory / f"{number:03d}-{finding.code}"
        folder.mkdir()
        files = {"finding.json": json.dumps(finding.as_json(), indent=1).encode() + b"\n", "policy": policy}
        for name, data in (files | dict(finding.evidence)).items():
            (folder / name).write_bytes(data)
    return len(report.findings)


def judge(code: str, first_index: int, files: Mapping[str, bytes], policy: Policy) -> tuple[str, str]:
    """What these files show of that finding, and why: pure, nothing else is looked at."""
    judges: dict[str, Callable[[int, Mapping[str, bytes], Policy], str]] = {
        "FORK": _judge_fork,
        "ROLLBACK": _judge_rollback,
        "OMISSION": _judge_omission,
        "CHECKPOINT_SIG": _judge_signature,
        "POLICY": _judge_quorum,
        "STALE": _judge_age,
    }
    try:
        if code in judges:
            shown = judges[code](first_index, files, policy)
            return (SHOWN, shown) if shown else (REPORTED, "the files do not contradict each other")
        if name_of(first_index) in files:
            return _judge_entry(code, first_index, files, policy)
    except (FormatError, InvalidProof, ReceiptRefused, KeyError) as error:
        return REPORTED, f"the files show nothing: {error!s}"
    return REPORTED, "what a copy holds or lacks: no signature says so"


def _open(files: Mapping[str, bytes], name: str, policy: Policy) -> Checkpoint:
    return open_checkpoint(files[name], policy.log)[0]


def _judge_fork(_index: int, files: Mapping[str, bytes], policy: Policy) -> str:
    seen, here = _open(files, SEEN, policy), _open(files, HERE, policy)
    root, size = here.root, here.size
    if seen.size != here.size:
        size, root, hashes = parse_prefix(files[PREFIX])
        check_consistency(size, here.size, hashes, root, here.root)
    if (seen.size, seen.root == root) != (size, False):
        return ""
    return f"{here.origin} signed two histories: roots {seen.root.hex()} and {root.hex()} at size {size}"


def _judge_rollback(_index: int, files: Mapping[str, bytes], policy: Policy) -> str:
    seen, here = _open(files, SEEN, policy), _open(files, HERE, policy)
    if seen.size <= here.size:
        return ""
    return f"{here.origin} signed size {seen.size}, the copy was published at {here.size}"


def _judge_omission(index: int, files: Mapping[str, bytes], policy: Policy) -> str:
    held, here = check_receipt(files[HELD], policy), _open(files, HERE, policy)
    if held.leaf.index != index:
        return ""
    if index >= here.size:
        return f"{here.origin} signed for entry {index}, the copy ends at {here.size}"
    other, checkpoint = _included(files[name_of(index)], policy)
    hashed = leaf_hash(other.extra or b"")
    if (other.index, checkpoint, hashed == held.leaf_hash) != (index, here, False):
        return ""
    return f"{here.origin} signed two entries {index}: {held.leaf_hash.hex()} and {hashed.hex()}"


def _judge_signature(_index: int, files: Mapping[str, bytes], policy: Policy) -> str:
    for name in (HERE, SEEN):
        if name in files:
            try:
                _checkpoint, note = open_checkpoint(files[name], policy.log)
                for _name, key in policy.witnesses:
                    cosigned_at(note, key)
            except FormatError as error:
                return f"{name}: {error}"
            known = {(key.name, key.key_id) for _name, key in policy.witnesses}
            known.add((policy.log.name, policy.log.key_id))
            strange = [line.name for line in note.signatures if (line.name, line.key_id) not in known]
            if strange:
                return f"{name}: a signature line of {strange[0]}, whom the policy does not name"
    return ""


def _judge_quorum(_index: int, files: Mapping[str, bytes], policy: Policy) -> str:
    _checkpoint, note = open_checkpoint(files[HERE], policy.log)
    cosigned = {name for name, key in policy.witnesses if cosigned_at(note, key) is not None}
    return "" if is_quorum_met(policy, cosigned) else f"cosigned by {sorted(cosigned) or 'nobody'}"


def _judge_age(_index: int, files: Mapping[str, bytes], policy: Policy) -> str:
    _checkpoint, note = open_checkpoint(files[HERE], policy.log)
    times = [when for _name, key in policy.witnesses if (when := cosigned_at(note, key)) is not None]
    return f"the newest cosignature that was shown is of {max(times)}" if times else "no witness cosigned it"


def _judge_entry(code: str, index: int, files: Mapping[str, bytes], policy: Policy) -> tuple[str, str]:
    """Check the entry alone, beside the first one, which enrols the keys."""
    leaves = {}
    for one in (0, index):
        proof, _checkpoint = _included(files[name_of(one)], policy)
        if proof.index != one or proof.extra is None:
            raise InvalidProof(f"{name_of(one)} is the proof of entry {proof.index}")
        leaves[one] = proof.extra
    report = Report()
    check = EntryCheck(policy, report, None)
    check.take_alone(Bundle(0, b"", [leaves[0]], []), index, leaves[index])
    for finding in report.findings:
        # Alone, an entry does not show what its author said before.
        if (finding.code, finding.first_index) == (code, index) and code != "AUTHOR_SEQ_GAP":
            return (
                SHOWN,
                f"{policy.log.name} signed for entry {index}: want {finding.expected}, got {finding.got}",
            )
    return COMMITTED, f"{policy.log.name} signed for entry {index}"


def _included(data: bytes, policy: Policy) -> tuple[TlogProof, Checkpoint]:
    """A receipt's entry is under a checkpoint that the log signed, whatever the entry is."""
    proof = parse_proof(data)
    checkpoint, _note = open_checkpoint(proof.checkpoint, policy.log)
    check_inclusion(
        leaf_hash(proof.extra or b""), proof.index, checkpoint.size, proof.hashes, checkpoint.root
    )
    return proof, checkpoint


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge a directory of evidence; exit status 0 all is shown or committed, 1 not all, 2 cannot judge."""
    parser = argparse.ArgumentParser(prog="aar.verify.evidence")
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--policy", type=Path, required=True, metavar="FILE", help="the keys that you trust")
    options = parser.parse_args(arguments)
    worst = 0
    try:
        policy = parse_policy(options.policy.read_bytes().decode("utf-8"))
        folders = sorted(one for one in options.directory.iterdir() if (one / "finding.json").is_file())
        for folder in folders:
            found = json.loads((folder / "finding.json").read_bytes())
            code, index = str(found["code"]), found["first_index"]
            outcome, why = judge(code, index if isinstance(index, int) else -1, _files_of(folder), policy)
            worst = max(worst, int(outcome == REPORTED))
            sys.stdout.write(f"{outcome:9}  {folder.name}: {_plain(why)}\n")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        sys.stderr.write(f"cannot judge: {_plain(str(error))}\n")
        return 2
    if not folders:
        sys.stderr.write(f"cannot judge: there is no evidence in {options.directory}\n")
        return 2
    return worst


def _files_of(folder: Path) -> dict[str, bytes]:
    found = {one.name: plain_bytes(folder, one.name, MAX_EVIDENCE_BYTES) for one in folder.iterdir()}
    return {name: data for name, data in found.items() if isinstance(data, bytes)}


def _plain(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


if __name__ == "__main__":
    sys.exit(main())
