"""The study file's table `oversight`: what may stand in it, and what the refusal says."""

from __future__ import annotations

import pytest

from aar.formats.kinds import check_body
from aar.outside.oversight.terms import (
    Downstream,
    HumanBaseline,
    Limit,
    Terms,
    decimal_of,
    terms_as_body,
    terms_in,
)
from aar.outside.study_file import StudyFileError, parse_study
from outside.test_admission import opening
from oversight.deployment import file_of

FULL = """
[oversight]
purpose = "alignment"

[oversight.human]
pgr = 0.23
hours = 336
source = "two \\"authors\\""

[[oversight.limit]]
signal = "steps-without-human"
above = 0.95
action = "require-review"

[[oversight.limit]]
signal = "cost-per-pgr"
below = -1
action = "notify"

[[oversight.downstream]]
name = "preprints"
kind = "publication"
gate = "reviewer"
researchers = ["r1"]
"""


def test_the_table_is_read_and_written_again_as_it_is() -> None:
    study = file_of(FULL)
    assert study.oversight == Terms(
        purpose="alignment",
        human=HumanBaseline(pgr=0.23, hours=336.0, source='two "authors"'),
        limits=(
            Limit(signal="steps-without-human", side="above", value=0.95, action="require-review"),
            Limit(signal="cost-per-pgr", side="below", value=-1.0, action="notify"),
        ),
        downstream=(Downstream(name="preprints", kind="publication", gate="reviewer", researchers=("r1",)),),
    )
    written = study.as_written().text
    again = parse_study(written, source="again", problems=("digits",))
    assert again.oversight == study.oversight
    assert again.as_written().text == written


def test_a_study_file_that_says_nothing_of_it_is_written_as_before() -> None:
    assert "oversight" not in file_of().as_written().text


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            'purpose = "alignment"',
            'purpose = "fun"',
            "purpose: got 'fun', want one of alignment, capabilities",
        ),
        ('purpose = "alignment"', 'purpose = ""', "purpose: got ''"),
        ('purpose = "alignment"', "budget = 3", "unknown budget"),
        ("pgr = 0.23", "pgr = 0.0", "want both above 0"),
        ("hours = 336", "hours = nan", "hours: got nan, want a number"),
        ("hours = 336", "", "hours: got None"),
        ('source = "two \\"authors\\""', "", "source: got None, want a text"),
        ("above = 0.95", "above = 0.95\nbelow = 0.1", "got above and below, want one"),
        ("above = 0.95", "", "got no bound, want one of above and below"),
        ("above = 0.95", "above = true", "above: got True, want a number"),
        ('"steps-without-human"', '"speed"', "signal: got 'speed', want one of steps-without-human"),
        ("above = 0.95", "above = 0.95123", "got 0.95123, which the record cannot hold: want less than"),
        ("above = 0.95", "above = 1e-5", "at most four digits after the point"),
        ("below = -1", "below = -10000", "got -10000, which the record cannot hold: want less than 10,000"),
        ("hours = 336", "hours = 33600", "hours: got 33600, which the record cannot hold"),
        ('source = "two', 'source = "' + "x" * 1_000 + "two", "source: 1013 characters, at most 1000"),
        ('"require-review"', '"shrug"', "action: got 'shrug', want one of notify, require-review, pause"),
        ('gate = "reviewer"', 'gate = "us"', "gate: got 'us', want one of reviewer, none"),
        ('kind = "publication"', 'kind = "web"', "kind: got 'web'"),
        ('name = "preprints"', 'name = "a b"', "name: got 'a b'"),
        ('["r1"]', '["r1", "r1"]', "want each once"),
        ('["r1"]', '"r1"', "want a list of names"),
        (
            '[[oversight.limit]]\nsignal = "cost-per-pgr"\nbelow = -1\naction = "notify"\n',
            '[[oversight.downstream]]\nname = "preprints"\nkind = "other"\ngate = "none"\n',
            "two downstream systems have the same name",
        ),
    ],
)
def test_what_cannot_be_used_is_named_with_what_was_wanted(old: str, new: str, says: str) -> None:
    assert old in FULL
    with pytest.raises(StudyFileError) as refused:
        file_of(FULL.replace(old, new, 1))
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("value", ["3", '"x"', "{ limit = 3 }", "{ limit = [3] }", "{ human = 3 }"])
def test_another_type_than_a_table_is_refused(value: str) -> None:
    text = file_of().text
    with pytest.raises(StudyFileError, match="oversight"):
        parse_study(f"oversight = {value}\n" + text, source="x", problems=("digits",))


def test_the_record_holds_the_terms_as_they_were_written() -> None:
    terms = file_of(FULL.replace('"notify"', '"pause"')).oversight
    body = terms_as_body(terms)
    assert body["limits"][0]["value"] == "0.95"
    assert body["limits"][1] == {
        "signal": "cost-per-pgr",
        "side": "below",
        "value": "-1.00",
        "action": "pause",
    }
    assert body["human"] == {"pgr": "0.23", "hours": "336.00", "source": 'two "authors"'}
    assert terms_in(body) == terms
    check_body("study-opened", opening(oversight=body))


def test_a_study_without_the_table_holds_empty_terms() -> None:
    body = terms_as_body(Terms())
    assert body == {"purpose": "", "human": {}, "limits": [], "downstream": []}
    assert terms_in(body) == Terms()
    check_body("study-opened", opening(oversight=body))


@pytest.mark.parametrize("value", [0.1, 0.25, 1 / 8, 3.0, 9999.9999, -0.0001, 0.3])
def test_a_number_of_four_digits_is_held_exactly(value: float) -> None:
    assert float(decimal_of(value)) == value
