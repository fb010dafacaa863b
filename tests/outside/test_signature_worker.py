"""The worker that checks signatures: its answers are those of the keys, whoever's thread gave them."""

from __future__ import annotations

import pytest

from aar.formats.entry import Entry, SignedEntry, check_entry_signatures, sign_entry
from aar.formats.errors import UnverifiedNote
from aar.formats.keys import Signer
from aar.outside import signature_worker
from aar.outside.signature_worker import LEAST_SHARED, SignatureWorker

AUTHOR, IMPOSTOR = Signer("researcher-1", b"a" * 32), Signer("researcher-1", b"b" * 32)
KEYS = {AUTHOR.name: AUTHOR.vkey}


def entry(number: int, signer: Signer = AUTHOR) -> SignedEntry:
    prev = "0" * 64 if number else ""
    return sign_entry(Entry("log.example/1", AUTHOR.name, number, prev, "finding", (), {}, 1), signer)


def falsified(number: int) -> SignedEntry:
    """One entry's text under another's signature."""
    one, other = entry(number), entry(number + 1)
    note = type(one.note)(one.note.text, other.note.signatures)
    return SignedEntry(one.entry, note, one.data)


@pytest.mark.parametrize("count", [0, 1, LEAST_SHARED - 1, LEAST_SHARED, LEAST_SHARED + 1, 40])
def test_each_entry_of_a_batch_is_judged_as_it_would_be_alone(count: int) -> None:
    entries = [falsified(number) if number % 3 == 1 else entry(number) for number in range(count)]
    answers = SignatureWorker().check(entries, KEYS)
    for number, signed in enumerate(entries):
        if number % 3 == 1:
            with pytest.raises(UnverifiedNote, match="not over this text"):
                check_entry_signatures(signed, KEYS.values(), answers.vouches)
        else:
            assert check_entry_signatures(signed, KEYS.values(), answers.vouches) == (AUTHOR.vkey,)


def test_a_key_that_is_not_enrolled_vouches_for_nothing() -> None:
    signed = entry(0, IMPOSTOR)
    answers = SignatureWorker().check([signed], KEYS)
    with pytest.raises(UnverifiedNote, match="no signature of a known key"):
        check_entry_signatures(signed, KEYS.values(), answers.vouches)


def test_every_signature_is_checked_once_and_half_of_a_batch_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    answer = signature_worker.answer

    def counting(questions: list[tuple[object, str, bytes]]) -> list[bool]:
        asked.append(len(questions))
        return answer(questions)  # type: ignore[arg-type]

    monkeypatch.setattr(signature_worker, "answer", counting)
    entries = [entry(number) for number in range(9)]
    answers = SignatureWorker().check(entries, KEYS)
    assert sorted(asked) == [4, 5]
    monkeypatch.setattr(type(AUTHOR.vkey), "vouches_for", lambda *_arguments: pytest.fail("checked twice"))
    for signed in entries:
        check_entry_signatures(signed, KEYS.values(), answers.vouches)
