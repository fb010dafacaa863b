"""Release rules: what a researcher is told of an exact PGR."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np

from aar.verify.interval import ladder

STEP = Fraction(1, 20)
NOISE = 0.05
SMALL_BUDGET = 20


class Release(Protocol):
    """One researcher's view of the scores of one study; everybody knows the rule and its `spread`."""

    @property
    def spread(self) -> float:
        """The standard deviation of what is told around the exact value, where it is told at all."""

    def tell(self, exact: float) -> float | None:
        """What is told of a submission's exact value; `None` when the budget is spent."""


@dataclass(slots=True)
class Exact:
    """The value itself, as the published protocol released it."""

    @property
    def spread(self) -> float:
        return 0.0

    def tell(self, exact: float) -> float:
        return exact


@dataclass(slots=True)
class Rounded:
    """The value to the nearest multiple of a step."""

    step: float = float(STEP)

    @property
    def spread(self) -> float:
        return self.step / math.sqrt(12)

    def tell(self, exact: float) -> float:
        return round(exact / self.step) * self.step


@dataclass(slots=True)
class Noisy:
    """The value and normal noise, drawn anew for every submission."""

    rng: np.random.Generator
    deviation: float = NOISE

    @property
    def spread(self) -> float:
        return self.deviation

    def tell(self, exact: float) -> float:
        return exact + self.deviation * float(self.rng.normal())


@dataclass(slots=True)
class Ladder:
    """The evaluator's own ladder: the last rung again, unless this value is better by a step."""

    step: Fraction = STEP
    rung: Fraction | None = None

    @property
    def spread(self) -> float:
        return 0.0

    def tell(self, exact: float) -> float:
        told = ladder(self.rung, Fraction(exact), self.step)
        if told is not None:
            self.rung = told
        return float(self.rung or 0)


@dataclass(slots=True)
class Budget:
    """Another rule for so many submissions, then nothing."""

    inner: Release
    left: int

    @property
    def spread(self) -> float:
        return self.inner.spread

    def tell(self, exact: float) -> float | None:
        if not self.left:
            return None
        self.left -= 1
        return self.inner.tell(exact)


RULES: dict[str, Callable[[np.random.Generator], Release]] = {
    "exact": lambda _rng: Exact(),
    "round .05": lambda _rng: Rounded(),
    "noise .05": Noisy,
    "budget 20": lambda _rng: Budget(Exact(), SMALL_BUDGET),
    "ladder .05": lambda _rng: Ladder(),
}


def is_better(told: float | None, than: float | None) -> bool:
    """Whether a told value is above another; nothing told is never better."""
    return told is not None and (than is None or told > than + 1e-9) and math.isfinite(told)
