"""Policies: one log, its witnesses, and how many of them a checkpoint needs."""

from __future__ import annotations

from itertools import combinations

import pytest

from aar.formats.errors import MalformedPolicy
from aar.formats.keys import COSIGNATURE, Signer, format_vkey
from aar.formats.policy import Group, Policy, format_policy, is_quorum_met, least_quorum, parse_policy

LOG = Signer("log.example/1", bytes(range(32)))
WITNESSES = [Signer(f"w.example/{number}", bytes([number]) * 32, COSIGNATURE) for number in range(1, 6)]
L = format_vkey(LOG.vkey)
W = [format_vkey(one.vkey) for one in WITNESSES]

GOLDEN = f"log {L}\nwitness local {W[0]}\nquorum local\n"
GROUPED = (
    f"log {L}\n"
    f"witness a {W[0]}\nwitness b {W[1]}\nwitness c {W[2]}\nwitness d {W[3]}\nwitness e {W[4]}\n"
    "group two-of 2 a b c\n"
    "group both all d e\n"
    "group either any two-of both\n"
    "quorum either\n"
)


def test_the_policy_of_some_witnesses_needs_so_many_of_them():
    named = tuple(zip("abc", (one.vkey for one in WITNESSES), strict=False))
    assert Policy.with_witnesses(LOG.vkey, named[:1], 1) == Policy.with_one_witness(LOG.vkey, *named[0])
    policy = Policy.with_witnesses(LOG.vkey, named, 2)
    assert parse_policy(format_policy(policy)) == policy
    assert not is_quorum_met(policy, {"a"})
    assert is_quorum_met(policy, {"a", "c"})
    one_of = Policy.with_witnesses(LOG.vkey, named, 1)
    assert is_quorum_met(one_of, {"b"})
    assert not is_quorum_met(one_of, set())


def test_the_golden_policy_is_written_and_read():
    policy = Policy.with_one_witness(LOG.vkey, "local", WITNESSES[0].vkey)
    assert policy == Policy(LOG.vkey, (("local", WITNESSES[0].vkey),), (), "local")
    assert format_policy(policy) == GOLDEN
    assert parse_policy(GOLDEN) == policy


def test_groups_are_written_and_read():
    policy = parse_policy(GROUPED)
    assert policy.groups == (
        Group("two-of", 2, ("a", "b", "c")),
        Group("both", 2, ("d", "e")),
        Group("either", 1, ("two-of", "both")),
    )
    assert format_policy(policy) == GROUPED


def test_no_quorum_is_met_by_nobody():
    policy = parse_policy(f"log {L}\nquorum none\n")
    assert is_quorum_met(policy, set())


def test_one_witness_is_a_quorum_when_it_is_the_one():
    policy = parse_policy(GOLDEN)
    assert is_quorum_met(policy, {"local"})
    assert not is_quorum_met(policy, set())
    assert not is_quorum_met(policy, {"log.example/1", "w.example/1"})


@pytest.mark.parametrize(
    ("quorum", "least"), [("none", 0), ("a", 1), ("two-of", 2), ("both", 2), ("either", 2)]
)
def test_the_least_quorum_is_the_size_of_the_smallest_set_that_meets_it(quorum: str, least: int):
    policy = parse_policy(GROUPED.replace("quorum either", f"quorum {quorum}"))
    sets = [set(some) for count in range(6) for some in combinations("abcde", count)]
    assert least_quorum(policy) == least == min(len(some) for some in sets if is_quorum_met(policy, some))


def test_groups_are_met_from_below():
    policy = parse_policy(GROUPED)
    for count in range(6):
        for names in map(set, combinations("abcde", count)):
            assert is_quorum_met(policy, names) == (len(names & set("abc")) >= 2 or names >= set("de"))
    # The name of a group is not a witness.
    assert not is_quorum_met(policy, {"either", "both", "two-of"})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "the last line does not end"),
        (GOLDEN[:-1], "the last line does not end"),
        (GOLDEN + "\n", "line 4: the quorum is the last line"),
        (GOLDEN + "quorum local\n", "line 4: the quorum is the last line"),
        (GOLDEN + f"witness late {W[1]}\n", "line 4: the quorum is the last line"),
        ("\n" + GOLDEN, "line 1: '': not a line that may stand here"),
        ("# comment\n" + GOLDEN, "line 1: '# comment': not a line that may stand here"),
        (GOLDEN.replace("log ", "log  ", 1), "line 1: .* not a line that may stand here"),
        (GOLDEN.replace(W[0], W[0] + " https://w.example"), "line 2: .* not a line that may stand here"),
        (f"log {L}\n" + GOLDEN, "line 2: .* not a line that may stand here"),
        (f"witness local {W[0]}\nlog {L}\nquorum local\n", "line 2: .* not a line that may stand here"),
        (
            GROUPED.replace("quorum", f"witness late {Signer('l', bytes(32)).vkey}\nquorum"),
            "not a line that may",
        ),
        (GOLDEN.replace("quorum", "group g all\nquorum"), "line 3: .* not a line that may stand here"),
        (GOLDEN.replace("quorum local", "quorum local local"), "line 3: .* not a line that may stand here"),
        (GOLDEN.replace("quorum local", "quorum"), "line 3: .* not a line that may stand here"),
        (GOLDEN.replace(L, L[:-4]), "line 1: verifier key"),
        (GOLDEN.replace(W[0], W[0][:-4]), "line 2: verifier key"),
        (f"witness local {W[0]}\nquorum local\n", "want a log and a quorum"),
        (f"log {L}\nwitness local {W[0]}\n", "want a log and a quorum"),
        (
            f"log {W[1]}\nwitness local {W[0]}\nquorum local\n",
            "a log has a plain Ed25519 key, a witness a cosig",
        ),
        (
            f"log {L}\nwitness local {format_vkey(Signer('x', bytes(32)).vkey)}\nquorum local\n",
            "a witness a cosig",
        ),
        (GOLDEN.replace("quorum local", f"witness two {W[0]}\nquorum local"), "the same key twice"),
        (
            GOLDEN.replace(W[0], format_vkey(Signer("w", LOG.seed, COSIGNATURE).vkey)),
            "the same key twice",
        ),
        (
            GOLDEN.replace(
                "quorum", f"witness two {format_vkey(Signer('w', bytes([1]) * 32, 4).vkey)}\nquorum"
            ),
            "the same key twice",
        ),
        (GOLDEN.replace("quorum local", "quorum other"), "quorum 'other' is not a witness or group above"),
        (GOLDEN.replace("quorum local", "quorum "), "quorum '' is not a witness or group above"),
        (GOLDEN.replace("local", "none"), "line 2: name 'none' is taken"),
        (GOLDEN.replace("quorum", f"witness local {W[1]}\nquorum"), "line 3: name 'local' is taken"),
        (GOLDEN.replace("local", "a+b"), "line 2: key name"),
        (GROUPED.replace("group both", "group d"), "name 'd' is taken"),
        (GROUPED.replace("group both", "group two-of"), "name 'two-of' is taken"),
        (GROUPED.replace("group both", "group none"), "name 'none' is taken"),
        (
            GROUPED.replace("2 a b c", "2 a b b"),
            "group two-of: each member is named above and in one group only",
        ),
        (GROUPED.replace("all d e", "all d f"), "group both: each member is named above"),
        (
            GROUPED.replace("all d e", "all d a"),
            "group both: each member is named above and in one group only",
        ),
        (GROUPED.replace("all d e", "all d both"), "group both: each member is named above"),
        (GROUPED.replace("2 a b c", "0 a b c"), "group two-of: 0 of 3 members"),
        (GROUPED.replace("2 a b c", "4 a b c"), "group two-of: 4 of 3 members"),
        (GROUPED.replace("2 a b c", "02 a b c"), "want ASCII digits"),
        (GROUPED.replace("2 a b c", "most a b c"), "want ASCII digits"),
        (GROUPED.replace("2 a b c", "3 a b c"), "threshold has another spelling"),
        (GROUPED.replace("2 a b c", "1 a b c"), "threshold has another spelling"),
    ],
)
def test_a_malformed_policy_is_refused(text: str, why: str):
    with pytest.raises(MalformedPolicy, match=why):
        parse_policy(text)


def test_a_name_stays_taken_after_it_is_a_member():
    with pytest.raises(MalformedPolicy, match="name 'a' is taken"):
        parse_policy(
            GOLDEN.replace("quorum local", f"witness a {W[1]}\ngroup g all a\ngroup a all g\nquorum a")
        )


def test_a_threshold_of_one_among_one_is_any():
    one = GOLDEN.replace("quorum local", "group g any local\nquorum g")
    assert format_policy(parse_policy(one)) == one
    with pytest.raises(MalformedPolicy, match="threshold has another spelling"):
        parse_policy(one.replace("any", "all"))
