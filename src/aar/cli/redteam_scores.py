"""``aar redteam scores``: attacks on what scores give away, by release rule and kind of problem."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from aar.cli.failures import CommandFailed
from aar.cli.main import EXIT_LEAK, EXIT_OK
from aar.cli.output import say, say_json

MOST_QUERIES = 5_000
MOST_WORLDS = 100


def redteam_scores(options: argparse.Namespace) -> int:
    """Run the laboratory; 4 when an attacker gains, or an honest search loses, more than it may."""
    queries = _queries(options.queries)
    if not 1 <= options.worlds <= MOST_WORLDS:
        raise CommandFailed(f"--worlds {options.worlds}: want 1 to {MOST_WORLDS}")
    from aar.outside.redteam.scores.honest_search import LIMIT, costs, scores_on_digits
    from aar.outside.redteam.scores.laboratory import DEFAULT_RULE, run_trials
    from aar.outside.redteam.scores.rules import RULES

    trials = list(run_trials(queries, options.worlds, options.seed))
    lost = costs(scores_on_digits(options.seed), tuple(RULES), options.seed)
    is_cheap = all(one.cost <= LIMIT for one in lost if one.rule in DEFAULT_RULE.values())
    if options.json:
        say_json(
            {
                "trials": [
                    {**asdict(one), "is_default": one.is_default, "holds": one.holds} for one in trials
                ],
                "honest_search": [asdict(one) for one in lost],
            },
            indent=1,
        )
    else:
        _say_trials(
            [asdict(one) | {"is_default": one.is_default} for one in trials], tuple(RULES), options.worlds
        )
        say()
        say("what a rule costs an honest hill climb of 60 submissions on digits (held-out PGR, 300 climbs)")
        for cost in lost:
            say(
                f"  {cost.rule:<12} ends at {cost.held_out:.3f}, costs {cost.cost:+.3f} (se {cost.error:.3f})"
            )
        say()
        worst = max((one for one in trials if one.is_default), key=lambda one: one.held_out)
        say(
            f"default rules: an attacker's last submission is at most {worst.held_out:+.3f} PGR above honest "
            f"on held-out items ({worst.attack}, {worst.kind}, {worst.queries} queries); "
            f"{'held' if all(one.holds for one in trials) and is_cheap else 'NOT HELD'}"
        )
    return EXIT_OK if is_cheap and all(one.holds for one in trials) else EXIT_LEAK


def _queries(text: str) -> list[int]:
    counts = [int(word) for word in text.split(",") if word.isascii() and word.isdigit()]
    if (
        not counts
        or ",".join(map(str, counts)) != text
        or not all(2 <= one <= MOST_QUERIES for one in counts)
    ):
        raise CommandFailed(f"--queries {text}: want counts from 2 to {MOST_QUERIES}, such as 200,1000")
    return counts


def _say_trials(trials: list[dict[str, object]], rules: tuple[str, ...], worlds: int) -> None:
    say(f"PGR above the honest base: shown / public / held-out, over {worlds} worlds; * the default rule")
    previous = None
    for at in range(0, len(trials), len(rules)):
        row = trials[at : at + len(rules)]
        head = (row[0]["queries"], row[0]["kind"], row[0]["access"])
        if head != previous:
            say()
            say(f"{head[0]} queries, {head[1]} ({head[2]})")
            say(f"  {'':<18} " + " ".join(f"{rule:<17}" for rule in rules))
            previous = head
        cells = [
            f"{one['shown']:+.2f}/{one['public']:+.2f}/{one['held_out']:+.2f}"
            + ("*" if one["is_default"] else " ")
            for one in row
        ]
        say(f"  {row[0]['attack']:<18} " + " ".join(cells))
