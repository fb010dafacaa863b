"""`aar review` and `aar forum` of a study that an alarm is about: a reviewer cannot overlook it."""

from __future__ import annotations

from argparse import Namespace

import pytest

from aar.cli.gate import _list_findings, _show
from aar.cli.read import _say_finding
from aar.formats.entry import parse_leaf
from aar.outside.projection import Projection
from aar.outside.review import evidence
from forge import At, honest

Printed = pytest.CaptureFixture[str]


class Alarmed:
    """A forged study with one more alarm, about these entries; its words would act on a terminal."""

    def __init__(self, *evidence_of: str) -> None:
        forge = honest()
        about = [At(label) for label in evidence_of]
        body = {"code": "odd", "who": "r1", "what": "so \x1b[2J odd", "evidence": about, "attempt": ""}
        forge.add("odd alarm", "monitor", "alarm", body).refs = list(about)
        self.leaves = [parse_leaf(data) for data in forge.leaves()]
        self.projection = Projection.of(self.leaves)
        self.result, self.alarm = forge.position("result"), forge.position("odd alarm")

    def line(self, printed: Printed) -> list[str]:
        """Outcome, item and words of the checklist's line on alarms, as a terminal shows them."""
        finding = self.projection.findings[self.result]
        _show(evidence(self.projection, finding, record_verdict="ok"), Namespace(json=False))
        (line,) = [one for one in printed.readouterr().out.splitlines() if " alarms " in one]
        return line.split(maxsplit=2)

    def listed(self, printed: Printed) -> str:
        _list_findings(self.projection, as_json=False)
        return printed.readouterr().out

    def forum(self, printed: Printed) -> str:
        by_index = {leaf.index: leaf for leaf in self.leaves}
        for index in self.projection.findings:
            _say_finding(self.projection, by_index, index, 0)
        return printed.readouterr().out


def test_an_alarm_about_its_ground_stands_beside_a_finding(capsys: Printed) -> None:
    study = Alarmed("receipt-first")
    assert study.line(capsys) == ["fail", "alarms", f"#{study.alarm} odd: so \\x1b[2J odd"]
    # The other finding builds on the result.
    assert study.listed(capsys).count(f" (alarms: #{study.alarm})\n") == 2
    assert study.forum(capsys).count(f"  [alarms: #{study.alarm}]") == 2


def test_an_alarm_about_other_work_of_its_author_is_named_and_fails_nothing(capsys: Printed) -> None:
    study = Alarmed("receipt-worse")
    other = f"1 about other work of r1: #{study.alarm} odd"
    assert study.line(capsys) == ["pass", "alarms", f"none about what it rests on; {other}"]
    assert "alarms" not in study.listed(capsys) + study.forum(capsys)
