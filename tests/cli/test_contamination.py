"""What builds on a retracted finding is marked wherever a human reads of it: board, forum and review."""

from __future__ import annotations

from argparse import Namespace

import pytest

from aar.cli.gate import _list_findings, _show
from aar.cli.read import _say_finding, leaderboard_lines
from aar.formats.entry import parse_leaf
from aar.outside.projection import Projection
from aar.outside.review import evidence
from aar.verify.leaderboard import leaderboard
from forge import At, DigestOf, decision, finding, honest

Printed = pytest.CaptureFixture[str]
FLAG = "builds on a retracted finding"


class Contaminated:
    """A forged study: r2's result builds on r1's idea, that on r1's result, and this one is decided on."""

    def __init__(self, decided: str) -> None:
        forge = honest()
        released = forge["receipt-other"].body["released"]
        numbers = {key: released[key] for key in ("pgr", "low", "high")}
        idea = finding(type="insight", title="an idea", parents=[At("result")])
        forge.add("idea", "r1", "finding", idea, before="closed").refs = [At("result")]
        built = finding(title="built", numbers=numbers, receipts=[At("receipt-other")], parents=[At("idea")])
        forge.add("built", "r2", "finding", built, before="closed").refs = [At("receipt-other"), At("idea")]
        if decided:
            body = decision(decision=decided, finding=At("result"), finding_digest=DigestOf("result"))
            forge.add("decided", "reviewer", "decision", body, before="closed")
        self.leaves = [parse_leaf(data) for data in forge.leaves()]
        self.projection = Projection.of(self.leaves)
        self.idea, self.built = forge.position("idea"), forge.position("built")
        self.result, self.hypothesis = forge.position("result"), forge.position("hypothesis")

    def board(self) -> list[str]:
        return [line for line in leaderboard_lines(leaderboard(self.leaves)) if FLAG in line]

    def listed(self, printed: Printed) -> list[str]:
        _list_findings(self.projection, as_json=False)
        lines = printed.readouterr().out.splitlines()
        return [line.split()[0] for line in lines if FLAG in line]

    def forum(self, printed: Printed) -> list[str]:
        by_index = {leaf.index: leaf for leaf in self.leaves}
        for index in self.projection.findings:
            _say_finding(self.projection, by_index, index, 0)
        lines = printed.readouterr().out.splitlines()
        return [line.split()[0] for line in lines if FLAG in line]

    def checked(self, printed: Printed, index: int) -> str:
        found = evidence(self.projection, self.projection.findings[index], record_verdict="ok")
        _show(found, Namespace(json=False))
        (line,) = [one for one in printed.readouterr().out.splitlines() if "parents-stand" in one]
        return " ".join(line.split())


def test_a_retraction_flags_every_descendant_on_the_board_in_the_forum_and_in_review(capsys: Printed) -> None:
    study = Contaminated("retract")
    (row,) = study.board()
    assert " r2 " in row
    descendants = [f"#{one}" for one in (study.hypothesis, study.idea, study.built)]
    assert study.projection.descendants(study.result) == [study.hypothesis, study.idea, study.built]
    assert study.listed(capsys) == descendants
    assert study.forum(capsys) == descendants
    assert study.checked(capsys, study.built) == f"fail parents-stand retracted: {study.result}"
    assert study.checked(capsys, study.result).startswith("pass parents-stand")


@pytest.mark.parametrize("decided", ["", "refine"])
def test_a_finding_that_was_not_retracted_flags_nothing(capsys: Printed, decided: str) -> None:
    study = Contaminated(decided)
    assert study.board() == study.listed(capsys) == study.forum(capsys) == []
    assert study.checked(capsys, study.built).startswith("pass parents-stand")
