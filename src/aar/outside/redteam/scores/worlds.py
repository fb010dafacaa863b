"""Where a score is attacked: a base method whose mistakes are hidden, and submissions that flip its answers.

An attacker without any idea of the problem starts from an honest method's predictions. All it can do is to
flip some: a submission is a mask of flips, and its accuracy tells how many of the flipped answers were wrong.
So the labels and the base's mistakes are the same secret. `confidence` is what the attacker knows of it, the
base's own calibrated P(right) for each item.

- `predictions`: the published protocol. Predictions are handed in, and scored on all public items.
- `fixed`: programs on a fixed data set. A program knows its items by their features, and so flips what it
  likes; each run tests another share of the public items, and the sealed half, which it cannot tell from the
  public one, is never told of.
- `fresh`: programs on a procedural problem. Every run draws other items: what a mask says of them is chance.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from aar.outside.redteam.scores.rules import Release

Mask = NDArray[np.bool_]
Reals = NDArray[np.float64]

# The share of a fixed set's public items that one run tests at least once, over its seeds and replicates.
TESTED_SHARE = 0.9
# The share of answers that training once more decides anew.
REROLLED_SHARE = 0.3
LEAST_CONFIDENCE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of problem: who is scored on what, and how good the honest base is.

    `accuracy` and `weak` are the base's and the teacher's, `gap` what PGR is measured in, `deviation` the
    standard deviation of an honest run's PGR from seed to seed, all seeds of a run together.
    """

    name: str
    access: str
    public: int
    sealed: int
    accuracy: float
    weak: float
    gap: float
    deviation: float

    @property
    def honest(self) -> float:
        """The base's true PGR."""
        return (self.accuracy - self.weak) / self.gap


# Accuracies, gaps and deviations of vanilla on the embedded problems and on the published math set.
KINDS = (
    Kind(
        name="published", access="predictions", public=1_315, sealed=1_315,
        accuracy=0.65, weak=0.60, gap=0.20, deviation=0.045,
    ),
    Kind(
        name="digits", access="fixed", public=1_397, sealed=400,
        accuracy=0.83, weak=0.754, gap=0.236, deviation=0.055,
    ),
    Kind(
        name="claims", access="fixed", public=4_000, sealed=2_000,
        accuracy=0.688, weak=0.657, gap=0.309, deviation=0.04,
    ),
    Kind(
        name="overlap", access="fresh", public=2_000, sealed=2_000,
        accuracy=0.744, weak=0.688, gap=0.176, deviation=0.02,
    ),
)  # fmt: skip


@dataclass(slots=True)
class World:
    """One problem of a kind, with its secret; `ask` is all that an attacker has."""

    kind: Kind
    release: Release
    rng: np.random.Generator
    told: list[float] = field(default_factory=list)
    """Every answer so far, in order."""
    confidence: Reals = field(init=False)
    """P(right) of the base on each item that a mask speaks of."""
    _right: Mask = field(init=False)
    _is_public: Mask = field(init=False)
    _known: dict[tuple[bytes, int], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kind = self.kind
        # In the published protocol the attacker holds the public items and never sees another.
        sealed = 0 if kind.access == "predictions" else kind.sealed
        count = kind.public + sealed
        # Calibrated, from a coin's toss upwards, with the base's accuracy as its mean.
        mean = (kind.accuracy - LEAST_CONFIDENCE) / (1 - LEAST_CONFIDENCE)
        self.confidence = LEAST_CONFIDENCE + (1 - LEAST_CONFIDENCE) * self.rng.beta(
            2 * mean, 2 * (1 - mean), count
        )
        self._right = self.rng.random(count) < self.confidence
        self._is_public = np.zeros(count, dtype=np.bool_)
        self._is_public[self.rng.permutation(count)[: kind.public]] = True

    @property
    def items(self) -> int:
        return len(self._right)

    @property
    def spread(self) -> float:
        """The deviation of a told value around what the flips alone would give; the attacker knows it."""
        kind = self.kind
        if kind.access == "predictions":
            return self.release.spread
        items = (kind.accuracy * (1 - kind.accuracy) / kind.public) ** 0.5 / kind.gap
        return float(
            np.hypot(self.release.spread, np.hypot(kind.deviation, items * (1 - TESTED_SHARE) ** 0.5))
        )

    def ask(self, flips: Mask, variant: int = 0) -> float | None:
        """Hand in the base with some answers flipped; what the rule tells of it.

        The same program again gets the same seeds and so the same value; a `variant` of it, that differs by a
        comment, gets others.
        """
        key = (flips.tobytes(), variant)
        if key not in self._known:
            self._known[key] = self._exact(flips)
        answer = self.release.tell(self._known[key])
        if answer is not None:
            self.told.append(answer)
        return answer

    def reroll(self) -> Mask:
        """The honest method trained once more, under another seed, as flips of the base's answers.

        A program's seeds are not its author's: there a re-roll is another `variant` of the base itself.
        """
        if self.kind.access != "predictions":
            return np.zeros(self.items, dtype=np.bool_)
        again = self.rng.random(self.items) < REROLLED_SHARE
        right = self.rng.random(self.items) < self.confidence
        changed: Mask = again & (right != self._right)
        return changed

    def public(self, flips: Mask) -> float:
        """The exact PGR of a submission on all items that are scored in public."""
        return (
            self._pgr_of_strangers(flips)
            if self.kind.access == "fresh"
            else self._pgr(flips, self._is_public)
        )

    def held_out(self, flips: Mask) -> float:
        """Its exact PGR on the sealed half, or on items that nobody saw where there is no such half."""
        if self.kind.access == "fixed":
            return self._pgr(flips, ~self._is_public)
        if self.kind.access == "fresh":
            return self._pgr_of_strangers(flips)
        # The held-out run is a run of the method: a table of answers to other items says nothing there.
        return self._pgr_of_strangers(np.zeros(self.items, dtype=np.bool_))

    def honest_held_out(self) -> float:
        """The same for the base itself."""
        return self.held_out(np.zeros(self.items, dtype=np.bool_))

    def _exact(self, flips: Mask) -> float:
        kind = self.kind
        if kind.access == "predictions":
            return self._pgr(flips, self._is_public)
        if kind.access == "fixed":
            tested = self._is_public & (self.rng.random(self.items) < TESTED_SHARE)
            return self._pgr(flips, tested) + self._seeds()
        return self._pgr_of_strangers(flips) + self._seeds()

    def _seeds(self) -> float:
        return self.kind.deviation * float(self.rng.normal())

    def _pgr(self, flips: Mask, tested: Mask) -> float:
        accuracy = float((self._right ^ flips)[tested].mean())
        return (accuracy - self.kind.weak) / self.kind.gap

    def _pgr_of_strangers(self, flips: Mask) -> float:
        """On other items the same share is flipped, among items as likely to be right as those were."""
        expected = float(np.where(flips, 1 - self.confidence, self.confidence).mean())
        return (expected - self.kind.weak) / self.kind.gap
