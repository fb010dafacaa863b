"""The laboratory: runs attacks on copies, lets the verifier judge, compares with what was expected."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from aar.outside.redteam import on_anchors, on_authors, on_claims, on_files, on_history, on_trust
from aar.outside.redteam.attack import ATTACKS, Attack
from aar.outside.redteam.benign import vary
from aar.outside.redteam.forgery import Forgery
from aar.outside.redteam.specimen import NoPlace, Specimen
from aar.verify.report import Report
from aar.verify.study import verify_study

# Importing them fills the table.
FAMILIES = (on_files, on_history, on_authors, on_claims, on_anchors, on_trust)
NOT_REPORTED = "not reported"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One attack with one seed: what was expected, what the verifier said first."""

    attack: Attack
    seed: int
    found: str
    expected_index: int
    found_index: int
    forge_s: float
    verify_s: float
    left_out: str = ""
    """Why it was not tried; empty if it was."""

    @property
    def is_as_expected(self) -> bool:
        if self.left_out:
            return True
        if not self.attack.is_visible:
            return self.found == NOT_REPORTED
        return (self.found, self.found_index) == (self.attack.code, self.expected_index)

    def as_json(self) -> dict[str, Any]:
        return {
            "attack": self.attack.name,
            "what": self.attack.what,
            "keys": list(self.attack.keys),
            "holds": self.attack.holds,
            "seed": self.seed,
            "expected": self.attack.code,
            "found": self.found,
            "expected_index": _or_none(self.expected_index),
            "first_index": _or_none(self.found_index),
            "index_rule": self.attack.index,
            "is_as_expected": self.is_as_expected,
            "left_out": self.left_out,
            "forge_seconds": round(self.forge_s, 4),
            "seconds": round(self.forge_s + self.verify_s, 4),
        }


def _or_none(index: int) -> int | None:
    return index if index >= 0 else None


def attacks_named(names: Iterable[str]) -> list[Attack]:
    """Those attacks, or all when none is named; `KeyError` for a name that is not in the table."""
    return [ATTACKS[name] for name in names] or list(ATTACKS.values())


def run_trials(
    specimen: Specimen, attacks: Iterable[Attack], seeds: Iterable[int], scratch: Path
) -> Iterator[Trial]:
    """Try each attack with each seed, in directories under `scratch` that are removed again."""
    numbers = list(seeds)
    for one in attacks:
        for seed in numbers:
            yield try_attack(specimen, one, seed, scratch)


def try_attack(specimen: Specimen, attack: Attack, seed: int, scratch: Path) -> Trial:
    """One attack on one copy. The place is drawn from the seed, and differs from attack to attack."""
    lost = [key for key in attack.needs if key not in specimen.keys]
    if lost:
        return _left_out(attack, seed, f"no key at hand of: {', '.join(lost)}")
    copy = Forgery(specimen)
    began = time.perf_counter()
    try:
        index = attack.apply(copy, Random(f"{attack.name} {seed}"))
    except NoPlace as error:
        return _left_out(attack, seed, str(error))
    forged = time.perf_counter()
    report = judge(copy, scratch / f"{attack.name}-{seed}")
    verified = time.perf_counter()
    found, found_index = NOT_REPORTED, -1
    if report.verdict == "tampered":
        found, found_index = report.findings[0].code, report.findings[0].first_index
    elif report.verdict != "ok":
        found = report.verdict
    return Trial(
        attack=attack,
        seed=seed,
        found=found,
        expected_index=index,
        found_index=found_index,
        forge_s=forged - began,
        verify_s=verified - forged,
    )


def _left_out(attack: Attack, seed: int, why: str) -> Trial:
    return Trial(
        attack=attack,
        seed=seed,
        found="",
        expected_index=-1,
        found_index=-1,
        forge_s=0.0,
        verify_s=0.0,
        left_out=why,
    )


def judge(copy: Forgery, directory: Path) -> Report:
    """What the verifier says of a copy. Nobody else writes to it: there is nothing to wait for."""
    copy.write(directory)
    try:
        return verify_study(
            directory,
            policy=copy.policy,
            pins=copy.pins,
            receipts=copy.receipts,
            anchors=[directory / "anchor"] if copy.anchor is not None else [],
            now_ms=copy.now_ms,
            pause=lambda _seconds: None,
        )
    finally:
        shutil.rmtree(directory)


def try_benign(specimen: Specimen, seed: int, scratch: Path) -> tuple[Report, list[str]]:
    """An honest variant under the verifier; what it says must be ok."""
    dice = Random(f"benign {seed}")
    copy, oddities = vary(specimen, dice)
    name = dice.choice(["copy", "a b", "f\u00fcr \u7814\u7a76", "very/deep/down/below"])
    return judge(copy, scratch / f"benign-{seed}" / name), oddities
