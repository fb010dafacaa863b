"""Entries one by one: framing, authors, order, kinds, bodies; every lie is under a cosigned checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aar.formats.bookmark import format_bookmark
from aar.formats.keys import format_vkey
from aar.formats.policy import Policy, format_policy
from aar.verify.entry_check import MAX_CLOCK_SKEW_MS
from aar.verify.study import verify_new
from forge import (
    LOG,
    SECOND_WITNESS,
    START_MS,
    STRANGER,
    WITNESS,
    WITNESS_STATE,
    At,
    DigestOf,
    Forge,
    assert_ok,
    assert_only,
    checkpoint,
    decision,
    failed_receipt,
    honest,
    opening,
    two_witnesses,
    unisolated,
    verdict_on,
)


@pytest.fixture
def forge() -> Forge:
    return honest()


def test_a_leaf_that_is_no_entry_is_reported(forge: Forge, tmp_path: Path) -> None:
    forge.add("noise", "r1", "comment", {}, before="closed").raw = b"noise"
    assert_only(verdict_on(forge, tmp_path), "ENTRY", forge.position("noise"), "an entry in its one spelling")


# Where and when.


@pytest.mark.parametrize("shift", [-1, 1])
def test_an_entry_stands_where_it_was_sequenced(forge: Forge, tmp_path: Path, shift: int) -> None:
    place = forge.position("comment")
    forge["comment"].index = place + shift
    assert_only(verdict_on(forge, tmp_path), "REPLAY", place, f"index {place}")


def test_an_entry_of_another_log_is_a_replay(forge: Forge, tmp_path: Path) -> None:
    forge["comment"].origin = "aar.test/another"
    assert_only(
        verdict_on(forge, tmp_path), "REPLAY", forge.position("comment"), "an entry for aar.test/forge"
    )


def test_a_sequence_number_that_was_used_is_a_replay(forge: Forge, tmp_path: Path) -> None:
    forge["decision"].seq, forge["decision"].prev = 0, ""
    assert_only(verdict_on(forge, tmp_path), "REPLAY", forge.position("decision"), "seq 3 after")


def test_an_entry_repeated_byte_for_byte_is_a_replay(forge: Forge, tmp_path: Path) -> None:
    forge.add("again", "r2", "comment", {}).raw = forge.leaves()[forge.position("comment")]
    report = verdict_on(forge, tmp_path)
    place = forge.position("again")
    assert {one.first_index for one in report.findings} == {place}
    assert [one.code for one in report.findings] == ["REPLAY", "CLOCK_REGRESSION", "REPLAY"]


def test_the_log_s_clock_does_not_run_backwards(forge: Forge, tmp_path: Path) -> None:
    place = forge.position("comment")
    forge["comment"].received_ms = START_MS + 1000 * (place - 1) - 1
    assert_only(verdict_on(forge, tmp_path), "CLOCK_REGRESSION", place, "or later")


def test_entries_of_one_batch_have_one_time(forge: Forge, tmp_path: Path) -> None:
    forge["comment"].received_ms = START_MS + 1000 * (forge.position("comment") - 1)
    assert_ok(verdict_on(forge, tmp_path))


def test_after_a_jump_back_the_clock_is_compared_with_the_latest_time_seen(
    forge: Forge, tmp_path: Path
) -> None:
    place = forge.position("comment")
    for number, draft in enumerate(forge.drafts[place : place + 2]):
        draft.received_ms = START_MS + number
    report = verdict_on(forge, tmp_path)
    assert [one.first_index for one in report.findings] == [place, place + 1]


def test_an_entry_from_the_future_is_reported(forge: Forge, tmp_path: Path) -> None:
    place = len(forge.drafts) - 1
    now_ms = START_MS + 1000 * place - MAX_CLOCK_SKEW_MS
    assert_ok(verdict_on(forge, tmp_path, now_ms=now_ms))
    report = verdict_on(forge, tmp_path, now_ms=now_ms - 1)
    found = [(one.code, one.first_index, one.expected[:19]) for one in report.findings]
    # The witness cosigned when the entry came, and so in the future, too.
    assert found == [
        ("CLOCK_REGRESSION", -1, "cosignatures of bef"),
        ("CLOCK_REGRESSION", place, "received before now"),
    ]


def test_an_entry_later_than_the_cosignature_over_it_is_reported(forge: Forge, tmp_path: Path) -> None:
    place = len(forge.drafts) - 1
    leaves = forge.leaves()
    files = forge.files(leaves)
    last_s = START_MS // 1000 + place - MAX_CLOCK_SKEW_MS // 1000
    files["record/checkpoint"] = checkpoint(leaves, unix_s=last_s)
    assert_ok(verdict_on(forge, tmp_path / "just", files=files))
    files["record/checkpoint"] = checkpoint(leaves, unix_s=last_s - 1)
    report = verdict_on(forge, tmp_path / "late", files=files)
    assert_only(report, "CLOCK_REGRESSION", place, f"received before {last_s - 1} s, when a witness had seen")


def test_an_entry_is_held_against_each_cosignature_over_it(forge: Forge, tmp_path: Path) -> None:
    """Of a pin, of a receipt, of an anchor: whichever was earliest; what came behind it is free."""
    leaves = forge.leaves()
    early = START_MS // 1000 - MAX_CLOCK_SKEW_MS // 1000
    pins = [
        checkpoint(leaves, size=6, unix_s=early + 4),
        checkpoint(leaves, size=9, unix_s=early + 10**6),
        checkpoint(leaves, size=3, unix_s=early + 10**6),
        checkpoint(leaves, size=4, witnesses=()),
    ]
    report = verdict_on(forge, tmp_path, pins=pins)
    assert_only(report, "CLOCK_REGRESSION", 5, f"received before {early + 4} s, when a witness had seen 6")


# The study's own policy is what it was opened with; who brings another takes it as it is.


def fewer(policy: Policy) -> Policy:
    return replace(policy, quorum="none")


def others(policy: Policy) -> Policy:
    return Policy.with_one_witness(policy.log, "local", SECOND_WITNESS.vkey)


@pytest.mark.parametrize("change", [fewer, others])
def test_a_study_s_own_policy_that_asks_for_less_than_its_opening_is_reported(
    forge: Forge, tmp_path: Path, change: Callable[[Policy], Policy]
) -> None:
    leaves = forge.leaves()
    files = forge.files(leaves)
    files["policy"] = format_policy(change(forge.policy)).encode()
    witnesses = () if change is fewer else (SECOND_WITNESS,)
    files["record/checkpoint"] = checkpoint(leaves, witnesses=witnesses)
    del files[WITNESS_STATE]
    report = verdict_on(forge, tmp_path, files=files)
    assert_only(report, "POLICY", 0, "1 of the 1 witnesses that the study was opened with")
    assert_ok(verdict_on(forge, tmp_path, files=files, policy=files["policy"]))


def test_a_study_s_own_policy_may_ask_for_more_than_its_opening(forge: Forge, tmp_path: Path) -> None:
    vkeys = [format_vkey(one.vkey) for one in (WITNESS, SECOND_WITNESS)]
    forge["opened"].body["witnesses"] = vkeys
    forge.policy = two_witnesses(quorum=2)
    leaves = forge.leaves()
    files = forge.files(leaves)
    files["record/checkpoint"] = checkpoint(leaves, witnesses=(WITNESS, SECOND_WITNESS))
    assert_ok(verdict_on(forge, tmp_path, files=files))


@pytest.mark.parametrize("ahead", [0, 1])
def test_an_entry_refers_to_earlier_ones(forge: Forge, tmp_path: Path, ahead: int) -> None:
    place = forge.position("comment")
    forge["comment"].refs = [0, place + ahead]
    assert_only(verdict_on(forge, tmp_path), "REFS", place, "refs to entries before it")


# The first entry enrols all others.


def other_log(body: dict[str, Any]) -> None:
    body["log"] = format_vkey(STRANGER.vkey)


def no_log(body: dict[str, Any]) -> None:
    body["log"] = "nobody"


def no_name(body: dict[str, Any]) -> None:
    del body["name"]


def bad_key(body: dict[str, Any]) -> None:
    body["keys"][0]["vkey"] += "A"


@pytest.mark.parametrize("change", [other_log, no_log, no_name, bad_key])
def test_the_opening_names_this_log_and_sound_keys(
    forge: Forge, tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    change(forge["opened"].body)
    assert_only(
        verdict_on(forge, tmp_path), "AUTHOR_KEY", 0, "study-opened, with the keys of all who may write"
    )


def test_the_first_entry_is_the_opening(forge: Forge, tmp_path: Path) -> None:
    forge.drop("opened")
    report = verdict_on(forge, tmp_path)
    assert_only(report, "AUTHOR_KEY", 0, "study-opened, with the keys of all who may write")
    assert report.findings[0].got == "a task-opened"


def another_role_for_a_name(keys: list[dict[str, str]]) -> None:
    other = type(STRANGER)("r1", STRANGER.seed)
    keys.append({"name": "r1", "role": "reviewer", "vkey": format_vkey(other.vkey)})


def one_key_under_two_names(keys: list[dict[str, str]]) -> None:
    keys.append({**keys[-1], "name": "r3"})
    keys[-1]["vkey"] = format_vkey(type(STRANGER)("r3", Forge().keys["r2"].seed).vkey)


def the_log_as_an_author(keys: list[dict[str, str]]) -> None:
    signer = type(LOG)("r3", LOG.seed)
    keys.append({"name": "r3", "role": "researcher", "vkey": format_vkey(signer.vkey)})


def a_key_of_another_name(keys: list[dict[str, str]]) -> None:
    keys.append({"name": "r3", "role": "researcher", "vkey": format_vkey(STRANGER.vkey)})


@pytest.mark.parametrize(
    "change", [another_role_for_a_name, one_key_under_two_names, the_log_as_an_author, a_key_of_another_name]
)
def test_names_and_keys_are_enrolled_once_each(
    forge: Forge, tmp_path: Path, change: Callable[[list[dict[str, str]]], None]
) -> None:
    change(forge["opened"].body["keys"])
    assert_only(verdict_on(forge, tmp_path), "AUTHOR_KEY", 0, "a name and a key once each")


def test_a_study_is_opened_once(forge: Forge, tmp_path: Path) -> None:
    forge.add("second", "operator", "study-opened", opening(), cosigners=["reviewer"], before="closed")
    assert_only(verdict_on(forge, tmp_path), "ORDER", forge.position("second"), "one study-opened")


# Authors.


@pytest.mark.parametrize(("seq", "prev"), [(9, None), (None, "ab" * 32)])
def test_a_gap_in_an_author_s_chain_is_reported(
    forge: Forge, tmp_path: Path, seq: int | None, prev: str | None
) -> None:
    forge["decision"].seq, forge["decision"].prev = seq, prev
    assert_only(verdict_on(forge, tmp_path), "AUTHOR_SEQ_GAP", forge.position("decision"), "seq 3 after")


def test_an_author_is_enrolled(forge: Forge, tmp_path: Path) -> None:
    draft = forge.add("talk", "r1", "comment", {"on": 0, "text": "hello"}, before="closed")
    draft.author, draft.signers = STRANGER.name, [STRANGER]
    assert_only(verdict_on(forge, tmp_path), "AUTHOR_KEY", forge.position("talk"), "an author whose key is")


def test_an_author_s_role_allows_the_kind(forge: Forge, tmp_path: Path) -> None:
    forge.add("talk", "gateway", "comment", {"on": 0, "text": "hello"}, before="closed")
    assert_only(
        verdict_on(forge, tmp_path), "AUTHOR_KEY", forge.position("talk"), "a comment by a researcher"
    )


def test_another_s_signature_is_not_the_author_s(forge: Forge, tmp_path: Path) -> None:
    forge["comment"].signers = [forge.keys["r1"]]
    assert_only(verdict_on(forge, tmp_path), "AUTHOR_SIG", forge.position("comment"), "the signature of r2")


def test_words_changed_after_they_were_signed_are_reported(forge: Forge, tmp_path: Path) -> None:
    forge["decision"].body["note"] = "I agree"
    forge["decision"].edit = lambda leaf: leaf.replace(b"I agree", b"I doubt")
    report = verdict_on(forge, tmp_path)
    assert_only(report, "AUTHOR_SIG", forge.position("decision"), "the signature of reviewer")


@pytest.mark.parametrize(
    ("label", "signers", "wanted"),
    [
        ("opened", ["operator"], "co-signed by a reviewer"),
        ("opened", ["operator", "gateway"], "co-signed by a reviewer"),
        ("opened", ["operator", "reviewer", "gateway"], "co-signed by a reviewer"),
        ("comment", ["r2", "r1"], "co-signed by a nobody"),
    ],
)
def test_a_kind_is_co_signed_by_its_role_and_nobody_else(
    forge: Forge, tmp_path: Path, label: str, signers: list[str], wanted: str
) -> None:
    forge[label].signers = [forge.keys[name] for name in signers]
    assert_only(verdict_on(forge, tmp_path), "AUTHOR_SIG", forge.position(label), wanted)


# Kinds and bodies.


def test_a_kind_outside_the_closed_set_is_reported(forge: Forge, tmp_path: Path) -> None:
    forge.add("rumour", "r1", "rumour", {}, before="closed")
    assert_only(
        verdict_on(forge, tmp_path), "UNKNOWN_KIND", forge.position("rumour"), "a kind of the closed set"
    )


def test_a_body_has_the_shape_of_its_kind(forge: Forge, tmp_path: Path) -> None:
    forge["comment"].body = {"on": At("result"), "text": "fine", "secret": "more"}
    assert_only(verdict_on(forge, tmp_path), "BODY", forge.position("comment"), "the body of a comment")


# Without a sandbox.


def test_a_study_without_sandboxes_holds_when_every_entry_says_so(tmp_path: Path) -> None:
    assert_ok(verdict_on(unisolated(), tmp_path))


@pytest.mark.parametrize("label", ["opened", "lease-walk", "plan-walk", "insight", "alarm"])
def test_an_entry_that_hides_that_nothing_was_isolated_is_reported(tmp_path: Path, label: str) -> None:
    forge = unisolated()
    forge[label].isolation = ""
    assert_only(verdict_on(forge, tmp_path), "ISOLATION", forge.position(label), "isolation none")


def test_an_entry_that_says_that_a_sandbox_was_none_is_reported(forge: Forge, tmp_path: Path) -> None:
    forge["comment"].isolation = "none"
    place = forge.position("comment")
    assert_only(verdict_on(forge, tmp_path), "ISOLATION", place, "isolation not mentioned")


def test_nothing_is_handed_in_without_a_sandbox(tmp_path: Path) -> None:
    forge = unisolated()
    body = honest()["submission-first"].body
    forge.add("submission", "gateway", "submission", {**body, "plan": At("plan-walk")}).isolation = "none"
    place = forge.position("submission")
    assert_only(verdict_on(forge, tmp_path), "ISOLATION", place, "nothing handed in where")


def test_there_is_no_score_without_a_sandbox(tmp_path: Path) -> None:
    forge = unisolated()
    body = {**failed_receipt(honest(), "failing"), "submission": 1}
    forge.add("receipt", "evaluator", "score-receipt", body).isolation = "none"
    assert_only(verdict_on(forge, tmp_path), "ISOLATION", forge.position("receipt"), "no score where")


def test_nothing_is_published_without_a_sandbox(tmp_path: Path) -> None:
    forge = unisolated()
    body = decision(finding=At("insight"), finding_digest=DigestOf("insight"))
    forge.add("decision", "reviewer", "decision", body).isolation = "none"
    place = forge.position("decision")
    assert_only(verdict_on(forge, tmp_path), "ISOLATION", place, "nothing published where")
    forge["decision"].body["decision"] = "refine"
    assert_ok(verdict_on(forge, tmp_path / "refined"))


def test_a_bookmark_of_a_study_without_sandboxes_holds_what_is_new_against_it(tmp_path: Path) -> None:
    forge = unisolated()
    report = verdict_on(forge, tmp_path)
    assert report.bookmark is not None
    policy = format_policy(forge.policy).encode()
    for number, isolation in enumerate(("none", "")):
        body = {"on": At("insight"), "text": f"late {number}"}
        forge.add(f"late-{number}", "r2", "comment", body).isolation = isolation
        study = forge.write(tmp_path / f"later-{number}")
        new = verify_new(study, format_bookmark(report.bookmark), policy=policy)
        if isolation:
            assert_ok(new)
            assert new.verified_from == report.tree_size
        else:
            assert_only(new, "ISOLATION", forge.position("late-1"), "isolation none")
