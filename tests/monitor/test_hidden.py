"""Hidden text: characters that act on a terminal or are not seen, in whatever a researcher may say."""

from __future__ import annotations

import pytest

from monitor.told import METHOD, Told

# Accents, a joiner that Persian needs, one inside an emoji, a tab and line ends.
PLAIN = "na\u00efve, \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645, \U0001f468\u200d\U0001f469, a\tb\r\nc"


@pytest.mark.parametrize(
    "hidden", ["\x1b[2J", "\x07", "\x9b", "\u202e", "\u2066", "\U000e0041", "\x7f", "\x00"]
)
def test_an_escape_an_override_or_a_tag_in_a_comment_is_told_with_its_entry(hidden: str) -> None:
    told = Told()
    told.say("a", "comment", on=0, text=PLAIN)
    assert told.codes == []
    place = told.say("a", "comment", on=0, text=f"well{hidden}done")
    (sighting,) = told.sightings
    assert (sighting.code, sighting.who, sighting.evidence) == ("hidden-text", "a", (place,))
    assert f"U+{ord(hidden[0]):04X}" in sighting.what
    assert hidden not in sighting.what


def test_every_text_of_an_entry_is_looked_at() -> None:
    told = Told()
    told.plan("a", {"name": "s", "what": "\x1b"})
    told.say("a", "task-proposed", title="t", direction="\x1b", reason="")
    assert told.codes == ["hidden-text"] * 2


def test_the_name_of_a_method_is_its_researchers_word() -> None:
    told = Told()
    plan = told.plan("a", {"name": "s"})
    told.submit("a", METHOD, plan=plan, name="\x1b[31m")
    (sighting,) = told.sightings
    assert (sighting.code, sighting.who) == ("hidden-text", "a")


def test_a_reviewer_may_write_what_it_likes() -> None:
    told = Told()
    told.say("reviewer", "comment", on=0, text="\x1b[2J")
    assert told.codes == []
