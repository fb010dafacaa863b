"""Deployments broken on purpose: each hard refusal alone, and how an operator would get round it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import forge as forgery
from aar.formats.keys import COSIGNATURE, Signer, format_skey, format_vkey
from aar.formats.policy import Policy
from aar.lab.problems import PROBLEMS
from aar.outside.oversight.examination import Reach, is_this_machine, try_changed_byte, who_can_edit
from aar.outside.oversight.facts import Facts
from aar.outside.oversight.memo import Memo, memo_of
from aar.outside.oversight.refusals import GUARDS
from aar.outside.projection import Projection
from aar.outside.record.anchors.directory import prepare
from aar.outside.sandbox.doctor import DoctorReport, Status
from aar.outside.sandbox.doctor import Verdict as DoctorVerdict
from aar.outside.study_file import default_study_text, parse_study
from oversight.deployment import (
    ADA,
    Deployment,
    codes,
    facts_of_plan,
    file_of,
    holding,
    mirror,
    vault,
    with_tables,
)
from record.object_store import ObjectStore, serving

pytestmark = pytest.mark.sandbox

Deploy = Callable[..., Deployment]
PREPRINTS = '[[oversight.downstream]]\nname = "preprints"\nkind = "publication"\n'
TRAINING = '[[oversight.downstream]]\nname = "fine-tuning"\nkind = "training"\n'


def changed(
    report: DoctorReport, names: set[str], status: Status, *, verdict: DoctorVerdict = "ok"
) -> DoctorReport:
    """The report if these probes had ended otherwise."""
    probes = tuple(
        replace(
            one,
            status=status,
            fires_without=one.fires_without and status != "absent",
            fires_within=status == "leak",
        )
        if one.name in names
        else one
        for one in report.probes
    )
    return replace(report, probes=probes, verdict=verdict)


def every_sentence_cites(memo: Memo) -> None:
    told = memo.as_json()
    sentences = [*told["refusals"], *told["not_checked"]]
    sentences += [one for section in memo.sections for one in told[section]["sentences"]]
    assert len(sentences) > 5
    for one in sentences:
        assert one["cites"], one
        for cite in one["cites"]:
            assert re.fullmatch(r"entry \d+|probe [\w:.-]+|key [a-z_.]+.*", cite), one


def test_a_deployment_anchored_out_of_everybodys_reach_is_go(good: Facts) -> None:
    memo = memo_of(good)
    assert (memo.verdict, codes(memo), holding(memo)) == ("go", [], [])
    every_sentence_cites(memo)
    told = memo.as_json()
    assert list(told) == [
        *("verdict", "refusals", "not_checked"),
        *("isolation", "log_integrity", "allocation", "review_gate", "monitors"),
    ]
    assert set(told["isolation"]["score"].values()) == {1.0}
    assert told["review_gate"]["reviewers"] == ["reviewer"]
    assert told["allocation"]["decision"] == "as queued"
    assert told["not_checked"]
    size = told["log_integrity"]["verification"]["tree_size"]
    assert [(one["name"], one["entries"], one["editable"]) for one in told["log_integrity"]["storage"]] == [
        ("vault", size, "")
    ]
    assert told["log_integrity"]["answers"] == {
        "the record verifies": True,
        "a checkpoint needs a witness": True,
        # Its key is not in the directory, but its address is that of the study itself.
        "a witness is apart from the operator": False,
        "an anchor is out of everybody's reach": True,
        "that anchor holds every entry": True,
        "a changed byte is noticed": True,
    }


def test_the_default_study_with_an_anchor_configured_is_go_before_it_opens(
    report: DoctorReport, endpoint: str, prefix: str
) -> None:
    text = default_study_text()
    anchored = text.replace("[[task]]", vault(endpoint, prefix) + "\n[[task]]", 1)
    memo, bare = (
        memo_of(facts_of_plan(parse_study(one, source="default", problems=tuple(PROBLEMS)), report))
        for one in (anchored, text)
    )
    assert (memo.verdict, codes(memo), holding(memo)) == ("go", [], [])
    assert "There is no record yet" in memo.not_checked[0].says
    every_sentence_cites(memo)
    assert codes(bare) == ["editable-storage"]


# The eight, each alone.


def spoil_record(directory: Path) -> None:
    (path,) = (one for one in (directory / "record/tile/entries").rglob("*") if one.is_file())
    path.write_bytes(path.read_bytes().replace(b"onwards", b"upwards", 1))


def tampered(deploy: Deploy, _good: Facts) -> Facts:
    made = deploy()
    made.spoil = spoil_record
    return made.facts()


def ungated(_deploy: Deploy, good: Facts) -> Facts:
    return with_tables(good, TRAINING, 'gate = "none"\n')


def shared(_deploy: Deploy, good: Facts) -> Facts:
    reach = 'gate = "reviewer"\nresearchers = ["r1"]\n'
    return with_tables(good, PREPRINTS, reach, TRAINING, reach)


def on_another_backend(deploy: Deploy, _good: Facts) -> Facts:
    made = deploy()
    made.forge["opened"].body["sandbox"]["backend"] = "container"
    return made.facts()


def unanchored(deploy: Deploy, _good: Facts) -> Facts:
    return deploy(anchors="").facts()


def for_capabilities(_deploy: Deploy, good: Facts) -> Facts:
    return with_tables(good, '[oversight]\npurpose = "capabilities"\n')


def unprobed(_deploy: Deploy, good: Facts) -> Facts:
    report = DoctorReport("cannot-run", (), "none", {}, {}, "bubblewrap is not installed")
    return replace(good, doctor=report)


def unreviewed(deploy: Deploy, _good: Facts) -> Facts:
    made = deploy()
    assert made.file is not None
    return facts_of_plan(made.file, made.report, reviewer=None)


BROKEN: dict[str, Callable[[Deploy, Facts], Facts]] = {
    "no-tamper-evident-record": tampered,
    "output-without-human": ungated,
    "shared-credentials": shared,
    "single-layer-isolation": on_another_backend,
    "editable-storage": unanchored,
    "capabilities-purpose": for_capabilities,
    "unproven-sandbox": unprobed,
    "no-reviewer": unreviewed,
}


@pytest.mark.parametrize("name", GUARDS)
def test_each_refusal_fires_alone_on_a_deployment_broken_in_that_way(
    name: str, deploy: Deploy, good: Facts
) -> None:
    memo = memo_of(BROKEN[name](deploy, good))
    assert (memo.verdict, codes(memo)) == ("no-go", [name])
    assert memo.as_json()["allocation"]["decision"] == "no task"
    every_sentence_cites(memo)


# Ways round each.


def test_a_quorum_of_none_is_no_tamper_evidence(deploy: Deploy) -> None:
    made = deploy()
    made.forge["opened"].body["quorum"] = 0
    made.forge.policy = Policy(forgery.LOG.vkey, (("local", forgery.WITNESS.vkey),), (), "none")
    assert codes(made.review()) == ["no-tamper-evident-record"]


def test_a_witness_with_an_authors_key_vouches_for_nothing(deploy: Deploy) -> None:
    made = deploy()
    # Another algorithm under the same point: a key of its own by its text, and none by who holds it.
    witness = Signer("witness-local", forgery.seed_of("operator"), COSIGNATURE)
    made.forge["opened"].body["witnesses"] = [format_vkey(witness.vkey)]
    made.forge.policy = Policy.with_one_witness(forgery.LOG.vkey, "local", witness.vkey)
    made.witness = witness
    assert codes(made.review()) == ["no-tamper-evident-record"]


def test_a_reviewer_with_the_operators_key_under_another_name_is_no_reviewer(deploy: Deploy) -> None:
    made = deploy()
    twin = Signer("reviewer", forgery.seed_of("operator"))
    for draft in made.forge.drafts:
        draft.signers = [twin if one.name == "reviewer" else one for one in draft.signers]
    for key in made.forge["opened"].body["keys"]:
        if key["role"] == "reviewer":
            key["vkey"] = format_vkey(twin.vkey)
    memo = made.review()
    assert codes(memo) == ["no-tamper-evident-record"]
    assert "AUTHOR_KEY" in memo.refusals[0].says


def test_a_changed_byte_that_goes_unnoticed_is_a_refusal(good: Facts) -> None:
    assert good.record is not None
    blind = replace(good.record.tamper, is_noticed=False)
    memo = memo_of(replace(good, record=replace(good.record, tamper=blind)))
    assert codes(memo) == ["no-tamper-evident-record"]


def test_a_changed_byte_proves_nothing_of_a_copy_that_did_not_hold_before(deploy: Deploy) -> None:
    made = deploy()
    made.facts()
    policy = (made.directory / "policy").read_bytes()
    assert try_changed_byte(made.directory, policy).is_noticed is True
    spoil_record(made.directory)
    told = try_changed_byte(made.directory, policy)
    assert (told.is_noticed, told.detail) == (None, "the copy was tampered as it was made")
    (made.directory / "record" / "checkpoint").unlink()
    assert try_changed_byte(made.directory, policy).is_noticed is None


def test_what_was_not_tried_on_a_copy_is_said(good: Facts) -> None:
    assert good.record is not None
    untried = replace(good.record.tamper, is_noticed=None, detail="too large")
    memo = memo_of(replace(good, record=replace(good.record, tamper=untried)))
    assert memo.verdict == "go"
    assert "No changed byte was tried on a copy: too large" in [one.says for one in memo.not_checked]


def test_an_operator_who_holds_the_reviewers_private_key_is_found_out(deploy: Deploy) -> None:
    made = deploy()

    def hide(directory: Path) -> None:
        (directory / "operator" / "old").mkdir(parents=True)
        key = format_skey(made.forge.keys["reviewer"])
        (directory / "operator" / "old" / "notes.txt").write_text(f"ada's, do not lose: '{key}'\n" * 2)

    made.spoil = hide
    memo = made.review()
    assert codes(memo) == ["output-without-human"]
    assert "operator/old/notes.txt" in memo.refusals[0].says


def test_a_reviewers_key_that_others_can_read_is_nobodys_signature(planned: Facts) -> None:
    memo = memo_of(replace(planned, reviewers=[replace(ADA, trouble="others can read it")]))
    assert codes(memo) == ["output-without-human"]


def test_one_wall_is_not_enough(good: Facts) -> None:
    names = {"set-id-bits", "read-keyring", "open-userfaultfd", "open-io-uring"}
    memo = memo_of(replace(good, doctor=changed(good.doctor, names, "absent")))
    assert codes(memo) == ["single-layer-isolation"]
    assert list(memo.sections["isolation"]["layers"]) == ["namespaces"]


@pytest.mark.parametrize(("status", "verdict"), [("unproven", "unproven"), ("leak", "leak")])
def test_a_probe_that_proves_nothing_or_gets_through_is_a_refusal(
    good: Facts, status: Status, verdict: DoctorVerdict
) -> None:
    memo = memo_of(replace(good, doctor=changed(good.doctor, {"connect-tcp"}, status, verdict=verdict)))
    assert codes(memo) == ["unproven-sandbox"]
    assert memo.refusals[0].cites == ("probe connect-tcp",)
    assert memo.sections["isolation"]["score"]["network"] < 1


def test_a_report_that_calls_itself_ok_is_not_believed(good: Facts) -> None:
    memo = memo_of(replace(good, doctor=changed(good.doctor, {"read-labels"}, "unproven")))
    assert codes(memo) == ["unproven-sandbox"]


def test_a_report_that_leaves_probes_out_is_no_proof(good: Facts) -> None:
    memo = memo_of(replace(good, doctor=replace(good.doctor, probes=good.doctor.probes[5:])))
    assert codes(memo) == ["unproven-sandbox"]
    assert "probe read-labels" in memo.refusals[0].cites


def test_probes_of_another_backend_are_no_proof(good: Facts) -> None:
    memo = memo_of(replace(good, doctor=replace(good.doctor, backend="bare")))
    assert codes(memo) == ["unproven-sandbox"]


def test_a_record_within_a_sandboxs_reach_is_refused_for_the_record_too(good: Facts) -> None:
    report = changed(good.doctor, {"write-record"}, "leak", verdict="leak")
    memo = memo_of(replace(good, doctor=report))
    assert codes(memo) == ["no-tamper-evident-record", "unproven-sandbox"]


def test_a_mirror_of_the_record_itself_is_storage_that_the_operator_edits(
    deploy: Deploy, tmp_path: Path
) -> None:
    memo = deploy(anchors=mirror(tmp_path / "study" / "record")).review()
    assert codes(memo) == ["editable-storage"]
    assert "it lies in the study's own directory" in memo.refusals[0].says


def test_a_directory_beside_the_record_can_be_edited_by_its_owner(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "copy").mkdir()
    said = who_can_edit(tmp_path / "copy", tmp_path / "study")
    assert said == "its owner can edit and remove files; it is on the file system of the record"
    assert who_can_edit(tmp_path / "none", None).startswith("there is no such directory here yet")


@pytest.mark.parametrize("kind", ["mirror", "directory"])
def test_nothing_but_a_locking_store_counts_whatever_a_probe_says_of_it(planned: Facts, kind: str) -> None:
    (anchor,) = planned.anchors
    memo = memo_of(replace(planned, anchors=[replace(anchor, kind=kind)]))
    assert codes(memo) == ["editable-storage"]


def test_an_append_only_directory_is_root_s_to_edit(report: DoctorReport, tmp_path: Path) -> None:
    prepare(tmp_path / "shelf")
    try:
        said = who_can_edit(tmp_path / "shelf", None)
        assert said.startswith(("append-only, an attribute that root", "its owner can edit"))
        table = f'\n[[anchor]]\nname = "shelf"\nkind = "directory"\npath = "{tmp_path}/shelf"\n'
        assert codes(memo_of(facts_of_plan(file_of(table), report))) == ["editable-storage"]
    finally:
        subprocess.run(["chattr", "-R", "-a", str(tmp_path / "shelf")], check=False, capture_output=True)


def test_a_locking_store_on_the_operators_own_machine_is_refused(
    report: DoctorReport, endpoint: str, prefix: str
) -> None:
    memo = memo_of(facts_of_plan(file_of(vault(endpoint, prefix)), report, reach=Reach()))
    assert codes(memo) == ["editable-storage"]
    assert "runs on this machine" in memo.refusals[0].says


def test_a_store_that_lets_locks_be_shortened_is_refused(
    report: DoctorReport, endpoint: str, prefix: str
) -> None:
    store = ObjectStore(("retention",))
    store.make("vault", has_lock=True)
    with serving(store) as lying:
        memo = memo_of(facts_of_plan(file_of(vault(lying, prefix)), report))
    assert codes(memo) == ["editable-storage"]
    assert "shorten the retention" in memo.refusals[0].says


def test_a_locked_anchor_that_may_be_left_out_keeps_nobody_from_anything(
    report: DoctorReport, endpoint: str, prefix: str, tmp_path: Path
) -> None:
    both = vault(endpoint, prefix) + mirror(tmp_path / "copy")
    facts = facts_of_plan(file_of(both, study="anchors = 1"), report)
    memo = memo_of(facts)
    assert codes(memo) == ["editable-storage"]
    assert "1 of 2 anchors are needed, 1 can be edited" in memo.refusals[0].says
    assert codes(memo_of(replace(facts, anchors_needed=2))) == []
    # No number of anchors that are not there is out of reach.
    assert codes(memo_of(replace(facts, anchors=facts.anchors[1:], anchors_needed=2))) == ["editable-storage"]


def test_a_lock_of_a_day_keeps_nothing(planned: Facts) -> None:
    (anchor,) = planned.anchors
    memo = memo_of(replace(planned, anchors=[replace(anchor, retain_days=1)]))
    assert codes(memo) == ["editable-storage"]


def test_the_store_says_how_long_a_record_is_locked_and_not_the_study_file(
    deploy: Deploy, endpoint: str, prefix: str
) -> None:
    made = deploy(anchors=vault(endpoint, prefix, retain_days=1))
    made.put()
    # The operator edits the file once the entries are there.
    made.file, made.is_written_through = file_of(vault(endpoint, prefix)), False
    memo = made.review()
    assert codes(memo) == ["editable-storage"]
    assert "ends in 0 days" in memo.refusals[0].says


def test_an_anchor_added_to_the_study_file_after_the_opening_counts_for_nothing(
    deploy: Deploy, endpoint: str, prefix: str
) -> None:
    made = deploy(anchors="")
    made.file, made.is_written_through = file_of(vault(endpoint, prefix)), False
    memo = made.review()
    assert codes(memo) == ["editable-storage"]
    assert any("otherwise than the record of anchor" in one for one in holding(memo))


def test_a_record_that_parts_from_what_its_anchor_holds_is_refused(deploy: Deploy) -> None:
    made = deploy()
    made.put()
    made.forge["vote"].body["value"] = -1
    made.is_written_through = False
    memo = made.review()
    assert codes(memo) == ["no-tamper-evident-record"]
    assert "WORM_DIVERGENCE" in memo.refusals[0].says


def test_a_purpose_in_the_words_of_a_task_is_escalated(deploy: Deploy) -> None:
    made = deploy()
    made.forge["task-walk"].body["direction"] = "advance the capabilities of the next-generation model"
    memo = made.review()
    assert codes(memo) == ["capabilities-purpose"]
    assert memo.refusals[0].cites == ("entry 1",)
    assert memo.refusals[0].next.startswith("escalate")


def test_a_purpose_in_the_statement_or_in_the_study_file_is_escalated(good: Facts, planned: Facts) -> None:
    assert good.record is not None
    stated = Projection.of(good.record.leaves)
    stated.opened = {**stated.opened, "statement": "find new scaling laws"}
    memo = memo_of(replace(good, record=replace(good.record, projection=stated)))
    assert (codes(memo), memo.refusals[0].cites) == (["capabilities-purpose"], ("entry 0",))
    assert planned.study_file is not None
    task = replace(planned.study_file.tasks[1], title="Towards recursive self-improvement")
    memo = memo_of(replace(planned, study_file=replace(planned.study_file, tasks=(task,))))
    assert (codes(memo), memo.refusals[0].cites) == (["capabilities-purpose"], ("key task.search",))


def test_an_address_of_this_machine_is_known_as_one() -> None:
    assert is_this_machine("127.0.0.1")
    assert is_this_machine("localhost")
    assert not is_this_machine("203.0.113.7")
    assert not is_this_machine("no such host")


# What holds the verdict up.


def held_up(memo: Memo, says: str) -> None:
    assert (memo.verdict, codes(memo)) == ("hold", []), codes(memo)
    assert len(holding(memo)) == 1, holding(memo)
    assert says in holding(memo)[0]
    assert memo.not_checked[0].says == holding(memo)[0]
    assert memo.sections["allocation"]["decision"] == "fixed tasks only"
    every_sentence_cites(memo)


def test_an_anchor_that_could_not_be_tried_holds_the_verdict_up(
    report: DoctorReport, endpoint: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    held_up(memo_of(facts_of_plan(file_of(vault(endpoint, prefix)), report)), "Anchor vault was not tried")


def test_an_anchor_that_holds_nothing_of_this_record_is_refused_and_said(deploy: Deploy) -> None:
    made = deploy()
    made.is_written_through = False
    memo = made.review()
    assert codes(memo) == ["editable-storage"]
    assert "What anchor vault holds was not compared with the record" in holding(memo)


def test_an_anchor_that_lacks_the_last_entries_holds_the_verdict_up(good: Facts) -> None:
    (anchor,) = good.anchors
    held_up(memo_of(replace(good, anchors=[replace(anchor, entries=5)])), "Entries 5 to")


def test_a_record_without_its_study_file_holds_the_verdict_up(good: Facts) -> None:
    held_up(memo_of(replace(good, study_file=None)), "There is no study file")


def test_a_study_file_that_parts_from_the_record_holds_the_verdict_up(deploy: Deploy) -> None:
    made = deploy()
    made.forge["opened"].body["budget"]["submissions"] = 6
    held_up(made.review(), "otherwise than the record of study.submissions")


def test_terms_that_the_study_file_changed_afterwards_hold_the_verdict_up(deploy: Deploy) -> None:
    made = deploy()
    made.forge["opened"].body["oversight"]["purpose"] = "alignment"
    held_up(made.review(), "otherwise than the record of oversight")


def test_a_problem_of_unknown_purpose_holds_the_verdict_up(good: Facts) -> None:
    held_up(memo_of(replace(good, problems=("claims",))), "What problem digits is for")


def test_a_stranger_with_credentials_holds_the_verdict_up(good: Facts) -> None:
    facts = with_tables(good, PREPRINTS, 'gate = "reviewer"\nresearchers = ["r9"]\n')
    held_up(memo_of(facts), "Who r9 may be")


@pytest.mark.parametrize(
    ("limit", "says"),
    [
        ('signal = "steps-without-human"\nabove = 0.1', "passed"),
        ('signal = "time-horizon"\nabove = 60', "not estimable"),
        ('signal = "steps-without-human"\nabove = 0.9', "unclear"),
    ],
)
def test_a_limit_that_asks_for_a_review_holds_the_verdict_up(good: Facts, limit: str, says: str) -> None:
    facts = with_tables(good, f'[[oversight.limit]]\n{limit}\naction = "require-review"\n')
    held_up(memo_of(facts), says)


def test_a_limit_that_notifies_holds_nothing_up(good: Facts) -> None:
    limit = '[[oversight.limit]]\nsignal = "steps-without-human"\nabove = 0.1\naction = "notify"\n'
    memo = memo_of(with_tables(good, limit))
    assert memo.verdict == "go"
    assert [one["state"] for one in memo.sections["monitors"]["limits"]] == ["passed"]


def test_a_folder_that_may_not_be_looked_into_holds_the_verdict_up(good: Facts) -> None:
    held_up(memo_of(replace(good, unread=["operator"])), "may not look into operator")


def test_even_a_go_says_first_what_nobody_looked_at(good: Facts) -> None:
    said = [one.says for one in memo_of(good).not_checked]
    for words in (
        "The verifier warns: trusted the keys in the study's own directory",
        "Alarms that stand in the record: 1",
        "Ways out that the terms do not name",
        "Whether the limits are strict enough",
        "Who holds key reviewer",
        "Who runs the machines elsewhere",
        "What a witness apart from the operator saw",
        "What no probe tries",
        "What the work is for beyond its words",
    ):
        assert [one for one in said if one.startswith(words)], words
    # One wall was probed and another attested; some attacks do not work here at all.
    assert good.doctor.attestation
    other = replace(
        changed(good.doctor, {"open-vsock"}, "absent"),
        attestation={**good.doctor.attestation, "kernel": "7.0"},
    )
    more = [one.says for one in memo_of(replace(good, doctor=other)).not_checked]
    assert [one[:24] for one in more if one not in said] == [
        "The wall that the study ",
        "Attacks that do not work",
    ]


def test_of_a_record_that_does_not_hold_nothing_is_concluded(deploy: Deploy, good: Facts) -> None:
    memo = memo_of(tampered(deploy, good))
    assert holding(memo) == ["Nothing that stands in the record was read: it does not hold"]
    assert memo.sections["monitors"]["signals"] == []
    assert memo.sections["review_gate"]["reviewers"] == []


def test_the_same_facts_give_the_same_memo(good: Facts) -> None:
    assert memo_of(good) == memo_of(good)
