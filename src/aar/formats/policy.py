"""Policies: which log, which witnesses, and how many of them (C2SP tlog-policy).

```
log <verifier key>
witness <name> <verifier key>
group <name> all|any|<k> <member>...
quorum <name>|none
```
Comments and empty lines are not part of the subset accepted here: a policy has one spelling.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field

from aar.formats.errors import FormatError, MalformedPolicy
from aar.formats.keys import COSIGNATURE, ED25519, VerifierKey, format_vkey, parse_vkey
from aar.formats.note import check_key_name
from aar.formats.strict import parse_decimal

NO_QUORUM = "none"
GROUP = "witnesses"


@dataclass(frozen=True, slots=True)
class Group:
    """`threshold` of `members` (names of witnesses or of groups above)."""

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """One log, its witnesses by name, and the witness or group that a checkpoint needs."""

    log: VerifierKey
    witnesses: tuple[tuple[str, VerifierKey], ...] = ()
    groups: tuple[Group, ...] = field(default=())
    quorum: str = NO_QUORUM

    @classmethod
    def with_witnesses(
        cls, log: VerifierKey, witnesses: tuple[tuple[str, VerifierKey], ...], needed: int
    ) -> Policy:
        """`needed` of `witnesses`, which are a group of their own unless there is one."""
        if len(witnesses) == needed == 1:
            return cls.with_one_witness(log, *witnesses[0])
        group = Group(GROUP, needed, tuple(name for name, _key in witnesses))
        return cls(log, witnesses, (group,), GROUP)

    @classmethod
    def with_one_witness(cls, log: VerifierKey, name: str, witness: VerifierKey) -> Policy:
        """The policy of a study with its local witness."""
        return cls(log, ((name, witness),), (), name)


def parse_policy(text: str) -> Policy:
    """A policy in its one spelling; each name and key at most once, each member named before its group."""
    if not text.endswith("\n"):
        raise MalformedPolicy("the last line does not end")
    log: VerifierKey | None = None
    witnesses: list[tuple[str, VerifierKey]] = []
    groups: list[Group] = []
    quorum: str | None = None
    taken: set[str] = {NO_QUORUM}
    free: set[str] = set()
    for number, line in enumerate(text[:-1].split("\n"), 1):
        words = line.split(" ")
        if quorum is not None:
            raise MalformedPolicy(f"line {number}: the quorum is the last line")
        try:
            if words[0] == "log" and len(words) == 2 and log is None and not witnesses:
                log = parse_vkey(words[1])
            elif words[0] == "witness" and len(words) == 3 and not groups:
                witnesses.append((_new_name(words[1], taken), parse_vkey(words[2])))
                free.add(words[1])
            elif words[0] == "group" and len(words) >= 4:
                groups.append(_group(words, taken, free))
            elif words[0] == "quorum" and len(words) == 2:
                quorum = words[1]
            else:
                raise MalformedPolicy(f"{line!r:.80}: not a line that may stand here")
        except FormatError as error:
            raise MalformedPolicy(f"line {number}: {error}") from error
    if log is None or quorum is None:
        raise MalformedPolicy("want a log and a quorum")
    if log.algorithm != ED25519 or any(key.algorithm != COSIGNATURE for _name, key in witnesses):
        raise MalformedPolicy("a log has a plain Ed25519 key, a witness a cosignature key")
    points = [log.public_key, *(key.public_key for _name, key in witnesses)]
    if len(set(points)) != len(points):
        raise MalformedPolicy("the same key twice")
    if quorum not in taken:
        raise MalformedPolicy(f"quorum {quorum!r:.80} is not a witness or group above")
    policy = Policy(log, tuple(witnesses), tuple(groups), quorum)
    if format_policy(policy) != text:
        raise MalformedPolicy(
            "a group's threshold has another spelling: 'any' for 1, 'all' for all, else a number"
        )
    return policy


def _new_name(name: str, taken: set[str]) -> str:
    check_key_name(name)
    if name in taken:
        raise MalformedPolicy(f"name {name!r:.80} is taken")
    taken.add(name)
    return name


def _group(words: list[str], taken: set[str], free: set[str]) -> Group:
    """A group of names that are in no other; `free` are the names that still may become members."""
    name, threshold, members = _new_name(words[1], taken), words[2], tuple(words[3:])
    if len(set(members)) != len(members) or not free.issuperset(members):
        raise MalformedPolicy(f"group {name}: each member is named above and in one group only")
    count = {"all": len(members), "any": 1}.get(threshold)
    count = parse_decimal(threshold) if count is None else count
    if not 1 <= count <= len(members):
        raise MalformedPolicy(f"group {name}: {count} of {len(members)} members")
    free.difference_update(members)
    free.add(name)
    return Group(name, count, members)


def format_policy(policy: Policy) -> str:
    """The one spelling of a policy; thresholds are written as numbers unless they are all or any."""
    lines = [f"log {format_vkey(policy.log)}"]
    lines += [f"witness {name} {format_vkey(key)}" for name, key in policy.witnesses]
    for group in policy.groups:
        words = {len(group.members): "all", 1: "any"}
        threshold = words.get(group.threshold, str(group.threshold))
        lines.append(f"group {group.name} {threshold} {' '.join(group.members)}")
    lines.append(f"quorum {policy.quorum}")
    return "\n".join(lines) + "\n"


def is_quorum_met(policy: Policy, names: Set[str]) -> bool:
    """Whether these witnesses are enough."""
    if policy.quorum == NO_QUORUM:
        return True
    met = {name for name, _key in policy.witnesses if name in names}
    for group in policy.groups:
        if len(met.intersection(group.members)) >= group.threshold:
            met.add(group.name)
    return policy.quorum in met


def least_quorum(policy: Policy) -> int:
    """How many witnesses a checkpoint needs at least: 0 where the quorum is none."""
    needed = {NO_QUORUM: 0} | {name: 1 for name, _key in policy.witnesses}
    for group in policy.groups:
        # A name is in one group at most, so that no witness counts twice.
        needed[group.name] = sum(sorted(needed[member] for member in group.members)[: group.threshold])
    return needed[policy.quorum]
