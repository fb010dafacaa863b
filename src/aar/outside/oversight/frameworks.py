"""What published frameworks call a threshold of AI research and development: their words, and the source.

Each quotation was compared word by word in stored public copies of the document, and where there is one in a
system card of its publisher that repeats it; the publisher's page was not fetched. Whoever relies on one
should open the source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from aar.formats.entry import Leaf
from aar.outside.oversight.signals import HUMAN_ROLES, cited
from aar.outside.projection import Projection


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotation:
    """A definition: whose, which version, of which day, the words, and where they stand."""

    framework: str
    version: str
    date: str
    level: str
    words: str
    source: str


QUOTATIONS = (
    Quotation(
        framework="Anthropic, Responsible Scaling Policy",
        version="3.0",
        date="2026-02-24",
        level="automated R&D in key domains",
        words="compress two years of 2018 \u2013 2024 AI progress into a single year",
        source="https://www.anthropic.com/rsp-updates, which quotes 3.0 to explain 3.1",
    ),
    Quotation(
        framework="Anthropic, Responsible Scaling Policy",
        version="3.4",
        date="2026-07-08",
        level="automated R&D in key domains",
        words="(1) our models would be able to fully substitute for our entire set of Research Scientists "
        "and Research Engineers, at competitive costs (i.e., within a factor of 5); or (2) there is "
        "“dramatic acceleration” of the pace of AI progress for reasons that likely relate to the "
        "automation of AI R&D",
        source=""
        "https://www-cdn.anthropic.com/files/4zrzovbb/website/0bacdc8440ea96e62a8766d99ebe1d4eea6d5f3a.pdf",
    ),
    Quotation(
        framework="Google DeepMind, Frontier Safety Framework",
        version="3.1 (the wording of 3.0 of 2025-09-22 is the same)",
        date="2026-04-17",
        level="ML R&D acceleration level 1",
        words="Has been used to accelerate AI development, resulting in AI progress substantially "
        "accelerating from historical rates.",
        source="https://storage.googleapis.com/deepmind-media/DeepMind.com/Blog/"
        "strengthening-our-frontier-safety-framework/frontier-safety-framework_3-1.pdf",
    ),
    Quotation(
        framework="Google DeepMind, Frontier Safety Framework",
        version="3.1 (the wording of 3.0 of 2025-09-22 is the same)",
        date="2026-04-17",
        level="ML R&D automation level 1",
        words="Can fully automate the work of any team of researchers at Google focused on improving AI "
        "capabilities, with approximately comparable all-inclusive costs.",
        source="https://storage.googleapis.com/deepmind-media/DeepMind.com/Blog/"
        "strengthening-our-frontier-safety-framework/frontier-safety-framework_3-1.pdf",
    ),
)
NOT_QUOTED = (
    "not quoted: AI R&D-4, a level of the Responsible Scaling Policy 2.x, which version 3 replaced",
    "not quoted: later versions than these, of which none was found",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Something that a threshold takes and this study does not do, with what shows it."""

    says: str
    cites: tuple[str, ...]


def missing_of(leaves: Sequence[Leaf]) -> tuple[Missing, ...]:
    """What would have to be added before a study like this one could cross any of them."""
    projection = Projection.of(leaves)
    tasks = [task.index for task in projection.tasks.values()]
    decisions = [
        leaf.index
        for leaf in leaves
        if leaf.signed.entry.kind == "decision"
        and projection.roles.get(leaf.signed.entry.author) in HUMAN_ROLES
    ]
    problems = [projection.opened["problem"], *(one["name"] for one in projection.opened["heldout"])]
    return (
        Missing(
            says=f"What to work on is chosen by people: a reviewer's key opened all {len(tasks)} tasks",
            cites=cited(tasks) or ("entry 0",),
        ),
        Missing(
            says=f"What is published is decided by people: {len(decisions)} decisions, none by another key",
            cites=cited(decisions) or ("entry 0",),
        ),
        Missing(
            says=f"It works on problems of fixed shape with a score ({', '.join(problems)}); it asks no "
            "question of its own, and trains no model that anybody deploys",
            cites=("entry 0",),
        ),
        Missing(
            says="It automates the middle of one kind of alignment research, and no step by which a model's "
            "capabilities are advanced: substitution for a whole staff, or a doubled pace of progress, is "
            "not something that its record could show",
            cites=("entry 0",),
        ),
    )


def quotations_as_json() -> list[dict[str, Any]]:
    """All quotations, for `--json`."""
    return [asdict(one) for one in QUOTATIONS]
