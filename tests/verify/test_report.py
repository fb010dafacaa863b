"""Reports: what a person and a program are told."""

from __future__ import annotations

from aar.verify.report import MAX_FINDINGS, Finding, Report, cannot_judge, format_report


def finding(number: int = 0, code: str = "ENTRY_HASH") -> Finding:
    return Finding(code=code, resource="tile", expected="this", got="that", first_index=number)


def test_a_report_is_ok_until_something_is_wrong() -> None:
    report = Report()
    assert report.verdict == "ok"
    report.add(finding())
    assert report.verdict == "tampered"


def test_a_report_keeps_the_first_findings_and_counts_the_rest() -> None:
    report = Report()
    for number in range(MAX_FINDINGS + 2):
        report.add(finding(number))
    assert [one.first_index for one in report.findings] == list(range(MAX_FINDINGS))
    assert report.more_findings == 2
    assert report.as_json()["more_findings"] == 2


def test_a_finding_about_no_entry_has_no_index() -> None:
    assert finding(-1).as_json()["first_index"] is None
    assert finding(0).as_json() == {
        "code": "ENTRY_HASH",
        "first_index": 0,
        "resource": "tile",
        "expected": "this",
        "got": "that",
        "evidence": [],
    }


def test_a_person_reads_the_verdict_last() -> None:
    report = Report(origin="log", tree_size=7, anchored_up_to=5, receipts=3, opened=2, warnings=["look"])
    assert format_report(report).splitlines() == [
        "log       log",
        "entries   7, witnessed up to 5",
        "receipts  3, opened values re-derived 2",
        "ranked    0 methods, from receipts alone",
        "note      look",
        "OK: everything holds",
    ]


def test_a_person_reads_twenty_findings_and_how_many_are_left() -> None:
    report = Report()
    for number in range(-1, 20):
        report.add(finding(number))
    lines = format_report(report).splitlines()
    assert lines[4:7] == ["ENTRY_HASH: tile", "          expected this", "          got      that"]
    assert lines[7] == "ENTRY_HASH: entry 0 in tile"
    assert lines[-2:] == ["          and 1 more", "TAMPERED: the record does not hold"]


def test_text_of_a_record_cannot_steer_a_terminal() -> None:
    report = Report(origin="\x9b1m", warnings=["\x1b[2J"])
    report.add(Finding(code="BODY", resource="a\nb", expected="\u202e", got="\x07\udc80"))
    for text in (format_report(report), format_report(cannot_judge("\x1b[2Ja\nb"))):
        assert all(character.isprintable() for line in text.split("\n") for character in line)
    assert format_report(cannot_judge("a\nb")) == "cannot judge: a?b"
