"""Evidence: what files alone show to somebody who has neither the copy nor any trust in who found it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from aar.formats.prefix import format_prefix
from aar.formats.proof import TlogProof, format_proof, parse_proof
from aar.verify import merkle
from aar.verify.__main__ import main as verify_main
from aar.verify.evidence import COMMITTED, REPORTED, SHOWN, judge, main, write_evidence
from aar.verify.report import HELD, HERE, PREFIX, SEEN, Report
from aar.verify.study import verify_study
from forge import (
    ORIGIN,
    SECOND_WITNESS,
    STRANGER,
    WITNESS_STATE,
    Forge,
    assert_only,
    bundle,
    checkpoint,
    honest,
    sha256,
    two_witnesses,
    verdict_on,
    with_comments,
    write,
)
from verify.test_receipt import path_of, receipt

LONG = with_comments(600)
LEAVES = LONG.leaves()
FILES = LONG.files(LEAVES)
SIZE = len(LEAVES)
POLICY = LONG.policy


def judged(report: Report, number: int = 0) -> tuple[str, str]:
    finding = report.findings[number]
    return judge(finding.code, finding.first_index, finding.evidence, POLICY)


def forked(tmp_path: Path, size: int) -> Report:
    """A copy whose witness saw another history of `size`."""
    files = {**FILES, WITNESS_STATE: checkpoint(LEAVES, size=size, root=bytes(32))}
    return verify_study(write(tmp_path / "study", files), policy=FILES["policy"])


# What is shown.


@pytest.mark.parametrize("size", [1, 255, 256, 257, 511, 512, 600, SIZE - 1, SIZE])
def test_two_histories_are_shown_by_the_log_s_own_signatures(tmp_path: Path, size: int) -> None:
    report = forked(tmp_path, size)
    assert [one.code for one in report.findings] == ["FORK"]
    outcome, why = judged(report)
    assert (outcome, f"at size {size}" in why) == (SHOWN, True)


def test_a_rollback_is_shown_by_the_larger_checkpoint(tmp_path: Path) -> None:
    files = LONG.files(LEAVES[:300]) | {WITNESS_STATE: FILES["record/checkpoint"]}
    report = verify_study(write(tmp_path / "study", files), policy=FILES["policy"])
    assert judged(report) == (SHOWN, f"{ORIGIN} signed size {SIZE}, the copy was published at 300")


def test_an_entry_left_out_is_shown_by_two_proofs_of_one_place(tmp_path: Path) -> None:
    other = with_comments(600)
    other["remark-100"].body["text"] += ", and more"
    place = other.position("remark-100")
    study = write(tmp_path / "study", other.files())
    report = verify_study(study, policy=FILES["policy"], receipts=[receipt(place, LEAVES)])
    assert {one.code for one in report.findings} == {"OMISSION", "FORK"}
    outcome, why = judged(report)
    assert (outcome, why.startswith(f"{ORIGIN} signed two entries {place}")) == (SHOWN, True)


def test_an_entry_beyond_the_copy_is_shown_left_out(tmp_path: Path) -> None:
    study = write(tmp_path / "study", LONG.files(LEAVES[:300]))
    report = verify_study(study, policy=FILES["policy"], receipts=[receipt(400, LEAVES)])
    assert judged(report) == (SHOWN, f"{ORIGIN} signed for entry 400, the copy ends at 300")


def test_a_checkpoint_of_another_key_is_shown(tmp_path: Path) -> None:
    report = verdict_on(LONG, tmp_path, files=FILES, pins=[b"noise"])
    assert judged(report)[0] == SHOWN


@pytest.mark.parametrize("line", [STRANGER.sign("x\n"), SECOND_WITNESS.cosign("another text\n", 7)])
def test_a_bad_line_under_a_checkpoint_is_shown(tmp_path: Path, line: object) -> None:
    forge = honest()
    forge.policy = two_witnesses(quorum=1)
    files = forge.files() | {"record/checkpoint": checkpoint(forge.leaves(), more=[line])}  # type: ignore[list-item]
    report = verdict_on(forge, tmp_path, files=files)
    finding = report.findings[0]
    assert finding.code == "CHECKPOINT_SIG"
    assert judge(finding.code, -1, finding.evidence, forge.policy)[0] == SHOWN


def test_a_quorum_that_was_not_met_is_shown(tmp_path: Path) -> None:
    files = FILES | {"record/checkpoint": checkpoint(LEAVES, witnesses=())}
    report = verify_study(write(tmp_path / "study", files), policy=FILES["policy"])
    assert judged(report) == (SHOWN, "cosigned by nobody")


def odd_kind(forge: Forge) -> None:
    forge["remark-7"].kind = "gossip"


def odd_body(forge: Forge) -> None:
    forge["remark-7"].body["text"] = ""


@pytest.mark.parametrize(
    ("change", "code"),
    [(odd_kind, "UNKNOWN_KIND"), (odd_body, "BODY")],
)
def test_a_bad_entry_that_the_log_signed_for_is_shown(
    tmp_path: Path, change: Callable[[Forge], None], code: str
) -> None:
    forge = with_comments(600)
    change(forge)
    report = verdict_on(forge, tmp_path)
    place = forge.position("remark-7")
    assert [(one.code, one.first_index) for one in report.findings] == [(code, place)]
    outcome, why = judged(report)
    assert (outcome, f"signed for entry {place}" in why) == (SHOWN, True)


def test_what_takes_more_of_the_record_is_said_to_be_committed(tmp_path: Path) -> None:
    forge = honest()
    forge["charge-first"].body["amount"] = 2
    report = verdict_on(forge, tmp_path)
    finding = report.findings[0]
    assert finding.code == "BUDGET"
    outcome = judge(finding.code, finding.first_index, finding.evidence, forge.policy)
    assert outcome == (COMMITTED, f"{ORIGIN} signed for entry {finding.first_index}")


def test_a_gap_is_not_shown_by_one_entry_alone(tmp_path: Path) -> None:
    forge = with_comments(600)
    forge.drop("remark-7")
    leaves = forge.leaves()
    report = verdict_on(forge, tmp_path, files=forge.files(leaves))
    assert report.verdict == "ok"  # the forge closes the gap
    good = {f"entry-{at}.tlog-proof": receipt(at, leaves) for at in (0, 90)}
    assert judge("AUTHOR_SEQ_GAP", 90, good, POLICY)[0] == COMMITTED


def test_damage_of_a_copy_accuses_nobody(tmp_path: Path) -> None:
    files = FILES | {"record/tile/entries/001": bundle([*LEAVES[257:512], LEAVES[256]])}
    report = verify_study(write(tmp_path / "study", files), policy=FILES["policy"])
    assert [one.code for one in report.findings] == ["ENTRY_HASH"]
    assert judged(report)[0] == REPORTED


# What is not shown: each lie in the files themselves.


def fork_files(tmp_path: Path, size: int) -> dict[str, bytes]:
    return dict(forked(tmp_path, size).findings[0].evidence)


def test_one_history_is_no_fork(tmp_path: Path) -> None:
    files = fork_files(tmp_path, 300)
    files[SEEN] = checkpoint(LEAVES, size=300)
    assert judge("FORK", -1, files, POLICY)[0] == REPORTED
    files[SEEN] = checkpoint(LEAVES)
    assert judge("FORK", -1, files, POLICY)[0] == REPORTED


def test_a_fork_at_another_size_than_the_proof_is_for_is_not_shown(tmp_path: Path) -> None:
    files = fork_files(tmp_path, 300)
    files[SEEN] = checkpoint(LEAVES, size=301, root=bytes(32))
    assert judge("FORK", -1, files, POLICY)[0] == REPORTED


def test_a_prefix_that_leads_elsewhere_shows_no_fork(tmp_path: Path) -> None:
    files = fork_files(tmp_path, 300)
    files[PREFIX] = format_prefix(300, sha256(b"another"), [bytes(32)] * 9)
    assert judge("FORK", -1, files, POLICY)[0] == REPORTED


def test_a_fork_without_its_files_is_not_shown() -> None:
    assert judge("FORK", -1, {}, POLICY)[0] == REPORTED


@pytest.mark.parametrize("name", [SEEN, HERE])
def test_a_fork_that_the_log_did_not_sign_is_not_shown(tmp_path: Path, name: str) -> None:
    files = fork_files(tmp_path, SIZE)
    files[name] = checkpoint(LEAVES, root=sha256(b"x"), log=STRANGER, origin=ORIGIN)
    assert judge("FORK", -1, files, POLICY)[0] == REPORTED


def test_a_smaller_checkpoint_is_no_rollback() -> None:
    files = {SEEN: checkpoint(LEAVES, size=300), HERE: checkpoint(LEAVES)}
    assert judge("ROLLBACK", 300, files, POLICY)[0] == REPORTED


def test_an_entry_that_is_there_was_not_left_out() -> None:
    files = {HELD: receipt(9, LEAVES), HERE: checkpoint(LEAVES), "entry-9.tlog-proof": receipt(9, LEAVES)}
    assert judge("OMISSION", 9, files, POLICY)[0] == REPORTED
    assert judge("OMISSION", 8, files, POLICY)[0] == REPORTED


def test_another_entry_under_another_checkpoint_was_not_put_in_its_place() -> None:
    other = with_comments(600)
    other["remark-100"].body["text"] += ", and more"
    place, leaves = other.position("remark-100"), other.leaves()
    files = {HELD: receipt(place, LEAVES), HERE: checkpoint(LEAVES)}
    files[f"entry-{place}.tlog-proof"] = receipt(place, leaves)
    assert judge("OMISSION", place, files, POLICY)[0] == REPORTED


def test_a_good_checkpoint_is_not_shown_to_be_bad() -> None:
    files = {HERE: checkpoint(LEAVES), SEEN: checkpoint(LEAVES, size=3)}
    assert judge("CHECKPOINT_SIG", -1, files, POLICY)[0] == REPORTED
    assert judge("POLICY", -1, files, POLICY)[0] == REPORTED


def test_a_good_entry_is_not_shown_to_be_bad() -> None:
    files = {f"entry-{at}.tlog-proof": receipt(at, LEAVES) for at in (0, 9)}
    assert judge("AUTHOR_SIG", 9, files, POLICY)[0] == COMMITTED


def test_a_proof_of_another_entry_shows_nothing() -> None:
    files = {"entry-0.tlog-proof": receipt(0, LEAVES), "entry-9.tlog-proof": receipt(10, LEAVES)}
    assert judge("BODY", 9, files, POLICY)[0] == REPORTED


def test_a_proof_without_its_entry_or_of_another_tree_shows_nothing() -> None:
    good = parse_proof(receipt(9, LEAVES))
    empty = format_proof(TlogProof(9, good.hashes, good.checkpoint, None))
    moved = format_proof(TlogProof(9, tuple(path_of(10, LEAVES)), good.checkpoint, good.extra))
    for one in (empty, moved):
        files = {"entry-0.tlog-proof": receipt(0, LEAVES), "entry-9.tlog-proof": one}
        assert judge("BODY", 9, files, POLICY)[0] == REPORTED


# On disk.


def test_evidence_is_written_and_judged_by_somebody_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = FILES | {WITNESS_STATE: checkpoint(LEAVES, size=300, root=bytes(32)), "record/extra": b""}
    study, shown = write(tmp_path / "study", files), tmp_path / "shown"
    assert verify_main([str(study), "--json", "--evidence", str(shown)]) == 1
    report = json.loads(capsys.readouterr().out)
    assert [one["evidence"] for one in report["findings"]] == [[], [HERE, PREFIX, SEEN]]
    (tmp_path / "trusted").write_bytes(FILES["policy"])
    assert main([str(shown), "--policy", str(tmp_path / "trusted")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0].split() for line in lines] == [
        ["reported", "000-UNEXPECTED_RESOURCE"],
        ["shown", "001-FORK"],
    ]


def test_evidence_is_not_written_over_anything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = write(tmp_path / "study", FILES | {"record/extra": b""})
    assert verify_main([str(study), "--evidence", str(tmp_path)]) == 1
    assert "no evidence was written" in capsys.readouterr().err
    with pytest.raises(FileExistsError):
        write_evidence(Report(), tmp_path, b"")


def test_of_a_study_that_holds_there_is_no_evidence(tmp_path: Path) -> None:
    study = write(tmp_path / "study", FILES)
    assert verify_main([str(study), "--evidence", str(tmp_path / "shown")]) == 0
    assert not (tmp_path / "shown").exists()


@pytest.mark.parametrize("what", ["no directory", "no evidence", "no policy", "odd finding", "deep finding"])
def test_what_cannot_be_judged_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str) -> None:
    policy, shown = tmp_path / "trusted", tmp_path / "shown"
    policy.write_bytes(FILES["policy"] if what != "no policy" else b"x")
    if what != "no directory":
        shown.mkdir()
    if what.endswith("finding"):
        (shown / "000-FORK").mkdir()
        (shown / "000-FORK" / "finding.json").write_text("[]" if what == "odd finding" else "[" * 100_000)
    assert main([str(shown), "--policy", str(policy)]) == 2
    assert capsys.readouterr().err.startswith("cannot judge: ")


# Proofs out of a log that was verified.


@pytest.mark.parametrize("index", [0, 1, 255, 256, 300, 511, 512, SIZE - 1])
def test_a_receipt_taken_from_the_files_is_the_one_that_the_definition_gives(
    tmp_path: Path, index: int
) -> None:
    from aar.verify.log_check import LogCheck

    log = LogCheck(write(tmp_path / "study", FILES) / "record", POLICY, Report())
    assert log.run()
    assert log.prove_inclusion(index) == receipt(index, LEAVES)


def test_no_proof_is_given_of_what_changed_meanwhile(tmp_path: Path) -> None:
    from aar.verify.log_check import LogCheck
    from aar.verify.prover import NoProof

    study = write(tmp_path / "study", FILES)
    log = LogCheck(study / "record", POLICY, Report(), sizes=[300, SIZE + 1])
    assert log.run()
    with pytest.raises(NoProof):
        log.prove_inclusion(SIZE)
    (study / "record" / "tile" / "entries" / "001").write_bytes(bundle([*LEAVES[257:512], LEAVES[256]]))
    with pytest.raises(NoProof):
        log.prove_inclusion(300)
    with pytest.raises(NoProof):
        log.prove_consistency(300)
    (study / "record" / "tile" / "entries" / "001").unlink()
    with pytest.raises(NoProof):
        log.prove_inclusion(300)
    assert log.shows_prefix(300) == {}


def test_no_proof_is_given_of_what_is_not_a_prefix(tmp_path: Path) -> None:
    from aar.verify.log_check import LogCheck
    from aar.verify.prover import NoProof

    log = LogCheck(write(tmp_path / "study", FILES) / "record", POLICY, Report(), sizes=[0])
    assert log.run()
    with pytest.raises(NoProof):
        log.prove_consistency(0)
    assert log.root_at(0) == merkle.EMPTY_ROOT


def test_a_finding_of_no_entry_encloses_none(tmp_path: Path) -> None:
    report = verify_study(write(tmp_path / "study", FILES | {"record/extra": b""}))
    assert_only(report, "UNEXPECTED_RESOURCE", -1, "only what the tree")
    assert report.findings[0].evidence == {}
