"""Held receipts: each lie that one can hold or be held against, and the one check that tells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from aar.formats.errors import FormatError
from aar.formats.proof import TlogProof, format_proof, parse_proof
from aar.verify.__main__ import main
from aar.verify.receipt import ReceiptRefused, check_receipt
from forge import (
    ORIGIN,
    SECOND_WITNESS,
    STRANGER,
    WITNESS,
    Forge,
    assert_ok,
    assert_only,
    checkpoint,
    honest,
    sha256,
    tree_hash,
    two_witnesses,
    verdict_on,
)

HONEST = honest()
LEAVES = HONEST.leaves()
SIZE = len(LEAVES)
INDEX = 21


def path_of(index: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of RFC 6962 section 2.1.1, in its own words."""
    if len(leaves) == 1:
        return []
    middle = 1
    while middle * 2 < len(leaves):
        middle *= 2
    if index < middle:
        return [*path_of(index, leaves[:middle]), tree_hash(leaves[middle:])]
    return [*path_of(index - middle, leaves[middle:]), tree_hash(leaves[:middle])]


def receipt(index: int = INDEX, leaves: list[bytes] = LEAVES, note: bytes = b"") -> bytes:
    proof = tuple(path_of(index, leaves))
    return format_proof(TlogProof(index, proof, note or checkpoint(leaves), leaves[index]))


def changed(**changes: object) -> bytes:
    return format_proof(replace(parse_proof(receipt()), **changes))


def assert_refused(data: bytes, code: str, says: str) -> None:
    with pytest.raises(ReceiptRefused, match=says) as refused:
        check_receipt(data, HONEST.policy)
    assert refused.value.code == code


# One receipt, alone.


@pytest.mark.parametrize("index", [0, 1, INDEX, SIZE - 1])
def test_a_receipt_shows_its_entry_with_the_time_of_each_cosignature(index: int) -> None:
    shown = check_receipt(receipt(index), HONEST.policy)
    assert (shown.leaf.index, shown.leaf.signed.entry.origin) == (index, ORIGIN)
    assert (shown.checkpoint.size, shown.checkpoint.root) == (SIZE, tree_hash(LEAVES))
    assert shown.leaf_hash == sha256(b"\x00" + LEAVES[index])
    assert list(shown.cosigned_s) == ["local"]
    # The second in which the last entry came.
    assert shown.cosigned_s["local"] == 1_700_000_000 + SIZE - 1


def test_a_receipt_without_its_entry_shows_nothing() -> None:
    assert_refused(changed(extra=None), "ENTRY_HASH", "no line 'extra'")


def test_the_entry_in_a_receipt_is_the_one_the_proof_leads_from() -> None:
    assert_refused(changed(hashes=()), "ENTRY_HASH", "not shown to be in it")
    forge, leaves = rewritten()
    place = forge.position("comment")
    data = format_proof(replace(parse_proof(receipt(place)), extra=leaves[place]))
    assert_refused(data, "ENTRY_HASH", f"entry {place} is not shown to be in it")


def test_a_receipt_is_for_the_place_that_its_entry_says() -> None:
    assert_refused(changed(extra=LEAVES[INDEX + 1]), "REPLAY", f"entry {INDEX} of .*entry {INDEX + 1}")
    moved = honest()
    moved.drafts[INDEX].origin = "aar.test/elsewhere"
    leaves = moved.leaves()
    assert_refused(receipt(INDEX, leaves), "REPLAY", "aar.test/elsewhere")


def test_a_receipt_is_signed_by_the_log() -> None:
    assert_refused(receipt(note=checkpoint(LEAVES, log=STRANGER)), "CHECKPOINT_SIG", "its checkpoint")


def test_a_receipt_without_a_quorum_of_witnesses_is_a_promise_only() -> None:
    assert_refused(receipt(note=checkpoint(LEAVES, witnesses=())), "POLICY", "cosigned by nobody")
    both = two_witnesses(quorum=2)
    with pytest.raises(ReceiptRefused, match="cosigned by \\['local'\\]"):
        check_receipt(receipt(), both)
    note = checkpoint(LEAVES, witnesses=(WITNESS, SECOND_WITNESS))
    assert set(check_receipt(receipt(note=note), both).cosigned_s) == {"local", "second"}


@pytest.mark.parametrize("data", [b"", b"junk", b"\xff\xfe", receipt()[:-5], receipt() + b"x"])
def test_what_is_no_receipt_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises((FormatError, ReceiptRefused)):
        check_receipt(data, HONEST.policy)


# Against a copy of the log.


def rewritten() -> tuple[Forge, list[bytes]]:
    """The same study with one entry's words changed, signed anew by everybody."""
    forge = honest()
    forge["comment"].body["text"] = "I never said that"
    return forge, forge.leaves()


def test_a_receipt_of_this_log_holds_against_it(tmp_path: Path) -> None:
    early = LEAVES[: INDEX + 3]
    report = verdict_on(HONEST, tmp_path, receipts=[receipt(), receipt(INDEX, early)])
    assert_ok(report)


def test_an_entry_that_a_receipt_proves_and_the_log_lacks_is_an_omission(tmp_path: Path) -> None:
    forge, leaves = rewritten()
    place = forge.position("comment")
    held = receipt(place)
    report = verdict_on(forge, tmp_path, receipts=[held])
    assert [(one.code, one.first_index) for one in report.findings] == [("OMISSION", place), ("FORK", -1)]
    assert sha256(b"\x00" + LEAVES[place]).hex() in report.findings[0].expected
    assert report.findings[0].got == sha256(b"\x00" + leaves[place]).hex()


def test_a_log_shorter_than_a_receipt_was_rolled_back(tmp_path: Path) -> None:
    files = HONEST.files(LEAVES[:INDEX])
    report = verdict_on(HONEST, tmp_path, files=files, receipts=[receipt()])
    assert [(one.code, one.first_index) for one in report.findings] == [
        ("OMISSION", INDEX),
        ("ROLLBACK", INDEX),
    ]


def test_another_history_around_an_entry_that_is_there_is_a_fork(tmp_path: Path) -> None:
    forge, _leaves = rewritten()
    held = receipt(2)
    assert_only(verdict_on(forge, tmp_path, receipts=[held]), "FORK", -1, "held receipt 0")


@pytest.mark.parametrize(("held", "says"), [(b"junk", "is no receipt"), (changed(hashes=()), "ENTRY_HASH")])
def test_a_receipt_that_shows_nothing_accuses_nobody(tmp_path: Path, held: bytes, says: str) -> None:
    report = verdict_on(HONEST, tmp_path, receipts=[held])
    assert_ok(report)
    assert any(says in one for one in report.warnings)


def test_the_command_compares_with_held_receipts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    forge, _leaves = rewritten()
    study = forge.write(tmp_path / "study")
    (tmp_path / "held.tlog-proof").write_bytes(receipt(forge.position("comment")))
    assert main([str(study), "--receipt", str(tmp_path / "held.tlog-proof")]) == 1
    assert "OMISSION" in capsys.readouterr().out
    assert main([str(study), "--receipt", str(tmp_path / "absent")]) == 2
