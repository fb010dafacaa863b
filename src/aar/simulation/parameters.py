"""Parameters: every number that the simulation assumes, once, and where it comes from.

PGR and accuracies are whole numbers of 1/10,000 (`UNIT`) everywhere in this package: sums of integers are the
same on every machine. `docs/simulate.md` prints this table; sources are *measured here* (docs/lab.md,
docs/scores.md, the problems' stated values), *published* (the study that this project follows, and its
successor), or *assumed*, which says that nobody measured it.
"""

from __future__ import annotations

from dataclasses import dataclass

UNIT = 10_000
PERCENT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A number, what it means, and where it comes from."""

    name: str
    value: int
    meaning: str
    source: str


PARAMETERS: dict[str, Parameter] = {
    one.name: one
    for one in (
        Parameter(
            name="researchers",
            value=3,
            meaning="researchers in a study",
            source="the embedded study has as many",
        ),
        Parameter(
            name="submissions",
            value=8,
            meaning="official runs that each researcher has",
            source="assumed; the embedded study has 12",
        ),
        Parameter(
            name="ideas",
            value=11,
            meaning="families of ideas that a part may be approached with",
            source="published: 11 named families; src/aar/inside/search.py has as many",
        ),
        Parameter(
            name="listed",
            value=3,
            meaning="ideas per step of a fixed workflow, by the human's choice",
            source="measured here: the embedded study's steps have 2 to 4",
        ),
        Parameter(
            name="craft",
            value=70,
            meaning="per cent of tries of a right idea that are done well enough to work",
            source="assumed; published only as 'many sound ideas fail'",
        ),
        Parameter(
            name="cheap_test",
            value=50,
            meaning="per cent of wrong ideas that a free researcher's own cheap test finds out",
            source="assumed; published in words: free agents design cheap falsifying tests first",
        ),
        Parameter(
            name="follow",
            value=80,
            meaning="per cent of tries that build on the forum's best method, the rest on one's own best",
            source="near src/aar/inside/search.py, whose parent is the best known in .85 x .71 of its draws",
        ),
        Parameter(
            name="harm",
            value=1_000,
            meaning="most PGR that a wrong idea costs, drawn evenly from 0, in 1/10,000",
            source="measured here: single methods on claims lie .00 to .10 below vanilla, one .32",
        ),
        Parameter(
            name="direction",
            value=12,
            meaning="weight that a directed researcher adds to the ideas of its direction",
            source="assumed; the popular ideas weigh 16 and less",
        ),
        Parameter(
            name="forged_step",
            value=2_000,
            meaning="PGR by which a forged result claims to be above the best known, in 1/10,000",
            source="assumed: enough to lead, little beside the 2.30 that a server without protections took",
        ),
        Parameter(
            name="lazy",
            value=67,
            meaning="per cent of a lazy researcher's tries that hand in its best method again, for luck",
            source="published: 67 % of the cheating trajectories did nothing else",
        ),
        Parameter(
            name="praise_bare",
            value=1,
            meaning="how strongly praise without a receipt draws readers, in steps of a factor of 4",
            source="assumed; blame without a receipt moves nobody, readers count failures by receipts",
        ),
        Parameter(
            name="praise_cited",
            value=2,
            meaning="the same for praise that looks like a result, and then blame counts as a failure",
            source="assumed",
        ),
        Parameter(
            name="minutes_least",
            value=20,
            meaning="minutes between two submissions of a researcher, at least",
            source="published: about 30 minutes for one method (successor study)",
        ),
        Parameter(
            name="minutes_more",
            value=25,
            meaning="minutes on top of that, drawn evenly from 0",
            source="assumed",
        ),
        Parameter(
            name="verify_minutes",
            value=60,
            meaning="minutes between two verifications by somebody outside",
            source="assumed",
        ),
    )
}


def value(name: str) -> int:
    """The value of a parameter."""
    return PARAMETERS[name].value


RESEARCHERS = value("researchers")
SUBMISSIONS = value("submissions")
IDEAS = value("ideas")
LISTED = value("listed")
CRAFT = value("craft")
CHEAP_TEST = value("cheap_test")
FOLLOW = value("follow")
HARM = value("harm")
DIRECTION = value("direction")
FORGED_STEP = value("forged_step")
LAZY = value("lazy")
PRAISE_BARE = value("praise_bare")
PRAISE_CITED = value("praise_cited")
MINUTES_LEAST = value("minutes_least")
MINUTES_MORE = value("minutes_more")
VERIFY_MINUTES = value("verify_minutes")

# How popular each idea is with anybody who was given no direction. Assumed; published only as a picture in
# which undirected researchers end in one family, self-training.
POPULARITY = (16, 12, 8, 6, 4, 3, 3, 2, 2, 2, 2)
# A try that came to nothing divides an idea's weight by 4, a word in its favour multiplies it: bounded.
MOST_FAILS, MOST_PRAISE = 3, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemClass:
    """A class of problems: how rare right ideas are (hardness), of how many parts it is (decomposability).

    A method that is right about m of the `parts` has PGR base + (top - base) (m / parts)^`synergy`, less what
    its wrong ideas cost. `weak` and `gap` are accuracies; `items` are tested in each half per seed; `known`
    is the chance in per cent that the human's list for a part holds a right idea.
    """

    name: str
    like: str
    parts: int
    right: int
    synergy: int
    base: int
    top: int
    weak: int
    gap: int
    items: int
    known: int
    is_fresh: bool

    @property
    def values(self) -> tuple[int, ...]:
        """PGR of a method without wrong ideas, by the number of parts that it is right about."""
        whole = self.parts**self.synergy
        return tuple(
            self.base + (self.top - self.base) * solved**self.synergy // whole
            for solved in range(self.parts + 1)
        )


SEEDS = 5
CLASSES = {
    one.name: one
    for one in (
        ProblemClass(
            name="easy-1",
            like="overlap",
            parts=1,
            right=4,
            synergy=1,
            base=3_000,
            top=9_600,
            weak=6_851,
            gap=1_798,
            items=3_400,
            known=90,
            is_fresh=True,
        ),
        ProblemClass(
            name="hard-1",
            like="digits",
            parts=1,
            right=2,
            synergy=1,
            base=3_600,
            top=5_600,
            weak=7_845,
            gap=2_063,
            items=700,
            known=50,
            is_fresh=False,
        ),
        ProblemClass(
            name="easy-3",
            like="nothing measured: assumed",
            parts=3,
            right=4,
            synergy=1,
            base=2_000,
            top=9_000,
            weak=6_500,
            gap=2_500,
            items=500,
            known=90,
            is_fresh=False,
        ),
        ProblemClass(
            name="hard-2",
            like="claims",
            parts=2,
            right=1,
            synergy=3,
            base=1_100,
            top=9_700,
            weak=6_552,
            gap=3_134,
            items=290,
            known=30,
            is_fresh=False,
        ),
        ProblemClass(
            name="routine-3",
            like="nothing measured: assumed",
            parts=3,
            right=1,
            synergy=1,
            base=2_000,
            top=9_000,
            weak=6_500,
            gap=2_500,
            items=500,
            known=100,
            is_fresh=False,
        ),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """How a study is run. The last `lazy` and then the last `lying` researchers are not honest.

    `is_evident`: the record as it is. Without it anybody writes anything into a common table.
    """

    name: str
    workflow: str = "free"
    is_directed: bool = True
    researchers: int = RESEARCHERS
    submissions: int = SUBMISSIONS
    lazy: int = 0
    lying: int = 0
    is_evident: bool = True

    def role(self, researcher: int) -> str:
        """`honest`, `lazy` or `lying`; researchers count from 0."""
        if researcher >= self.researchers - self.lying:
            return "lying"
        return "lazy" if researcher >= self.researchers - self.lying - self.lazy else "honest"

    def taste(self, researcher: int) -> tuple[int, ...]:
        """The weight of each idea to a researcher before anything is known."""
        if not self.is_directed:
            return POPULARITY
        return tuple(
            weight + DIRECTION * (idea % self.researchers == researcher)
            for idea, weight in enumerate(POPULARITY)
        )


FREE = Arm(name="free")
FIXED = Arm(name="fixed", workflow="fixed")
UNDIRECTED = Arm(name="undirected", is_directed=False)
ARMS = {
    one.name: one
    for one in (
        FREE,
        FIXED,
        UNDIRECTED,
        Arm(name="two-honest", researchers=2),
        Arm(name="one-lazy", lazy=1),
        Arm(name="one-lying", lying=1),
        Arm(name="one-lying-unprotected", lying=1, is_evident=False),
    )
}
