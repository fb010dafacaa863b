"""``aar simulate``: whole studies on a clock of our own: workflows, a liar, power, trust, calibration."""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aar.cli.failures import CommandFailed
from aar.cli.lab_pool import begin_worker, end_workers
from aar.cli.main import EXIT_OK
from aar.cli.output import say, say_json
from aar.cli.text_table import table_lines

if TYPE_CHECKING:
    from aar.simulation.compression import Course
    from aar.simulation.demonstration import ArmMeans, Means
    from aar.simulation.power import Comparison
    from aar.simulation.study import StudyOutcome

MOST_RUNS = 200_000
LEAST_RUNS = {"demo": 61, "power": 122, "calibrate": 10}
DEFAULT_RUNS = {"demo": 1_000, "power": 10_000, "calibrate": 2_000}
FIGURES = (".png", ".svg")


def simulate(options: argparse.Namespace) -> int:
    """Run one of the simulations."""
    kinds = {
        "demo": _demo,
        "power": _power,
        "compression": _compression,
        "calibrate": _calibrate,
        "parameters": _parameters,
    }
    _check(options)
    kinds[options.what](options)
    return EXIT_OK


def _check(options: argparse.Namespace) -> None:
    from aar.simulation.parameters import ARMS, CLASSES

    what = options.what
    least = LEAST_RUNS.get(what, 1)
    if options.runs is not None and (what not in DEFAULT_RUNS or not least <= options.runs <= MOST_RUNS):
        wanted = f"{least} to {MOST_RUNS}" if what in DEFAULT_RUNS else "none: it has nothing to repeat"
        raise CommandFailed(f"--runs {options.runs} with {what}: want {wanted}")
    if options.problem not in CLASSES:
        raise CommandFailed(f"--problem {options.problem}: want one of {', '.join(CLASSES)}")
    if not 0 <= options.seed < 2**53:
        raise CommandFailed(f"--seed {options.seed}: want 0 to 2^53")
    arms = options.arms.split(",")
    if len(arms) != 2 or len(set(arms)) != 2 or not set(arms) <= set(ARMS):
        raise CommandFailed(f"--arms {options.arms}: want two of {', '.join(ARMS)}, with a comma between")
    if options.figure is not None:
        if what not in ("demo", "power"):
            raise CommandFailed(f"--figure with {what}: only demo and power draw one")
        if Path(options.figure).suffix.lower() not in FIGURES:
            raise CommandFailed(f"--figure {options.figure}: want a .png or .svg")
        if not Path(options.figure).absolute().parent.is_dir():
            raise CommandFailed(f"--figure {options.figure}: there is no such directory")
    if options.keep is not None:
        if what != "demo":
            raise CommandFailed(f"--keep with {what}: only demo makes records")
        if Path(options.keep).exists():
            raise CommandFailed(f"--keep {options.keep}: it is there already; name a new directory")


def _runs(options: argparse.Namespace) -> int:
    return DEFAULT_RUNS[options.what] if options.runs is None else options.runs


def pgr(units: int, digits: int = 2) -> str:
    """1/10,000 as a decimal."""
    text = f"{units / 10_000:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _per_cent(per_mille: int) -> str:
    return f"{per_mille / 10:.1f} %"


def _span(low: int, high: int) -> str:
    return f"[{pgr(low, 3)}, {pgr(high, 3)}]"


# The demonstration.


def _demo(options: argparse.Namespace) -> None:
    from aar.simulation.demonstration import Demonstration, means_of, studies_of

    keep = Path(options.keep) if options.keep is not None else None
    wanted = {"problem": options.problem, "seed": options.seed, "runs": _runs(options)}
    with _beside(means_of, options.jobs, **wanted) as means:
        studies = studies_of(options.problem, seed=options.seed, keep=keep)
        if not options.json:
            _say_studies(studies)
        shown = Demonstration(seed=options.seed, problem=options.problem, studies=studies, means=means())
    if options.json:
        say_json(shown.as_json(), indent=1)
    else:
        _say_means(shown.means)
        if keep is not None:
            say(f"records: {keep}/ARM; check one with: ./aar verify {keep}/free --policy {keep}/free/policy")
        say(f"digest of all numbers: {shown.as_json()['digest']}")
    if options.figure is not None:
        from aar.cli.simulate_picture import draw_demonstration

        draw_demonstration(shown, Path(options.figure))
        if not options.json:
            say(f"figure: {options.figure}")


@contextmanager
def _beside(work: Callable[..., Means], jobs: int, **wanted: Any) -> Iterator[Callable[[], Means]]:
    """Have it done in a second process meanwhile, or in this one when it is asked for."""
    if jobs == 1:
        yield lambda: work(**wanted)
        return
    # It writes no files, so that it may be ended at any moment.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(1, mp_context=context, initializer=begin_worker, initargs=(os.getpid(),))
    try:
        yield pool.submit(work, **wanted).result
    except BrokenProcessPool:
        raise CommandFailed("the second process ended by itself, out of memory perhaps; --jobs 1") from None
    finally:
        end_workers(pool)


def _say_means(means: Means) -> None:
    say(f"free against fixed, by problem class: {means.workflows[0].pairs} studies of each arm")
    known = {one.problem: one.known for one in means.break_evens}
    _say_lines(
        [
            "class",
            "free",
            "fixed",
            "difference",
            "95 %",
            "fixed as good",
            "fixed keeps up if the list is right",
        ],
        [
            [
                one.problem,
                pgr(one.mean_one),
                pgr(one.mean_other),
                pgr(one.difference),
                _span(one.low, one.high),
                _per_cent(one.other_as_good),
                f"in {known[one.problem]} % of parts" if known[one.problem] >= 0 else "never",
            ]
            for one in means.workflows
        ],
    )
    say()
    first = means.compromised[0]
    say(f"one researcher of three is not honest: {first.runs} studies on {first.problem}")
    _say_compromised(means.compromised)
    say()
    say("directed against undirected seeding, and the entropy of the ideas tried")
    _say_seeding(means)
    say()
    _say_courses(means.compression)
    say()
    say("trust as simulated above, if alignment research compounds as fast as capability")
    _say_lines(
        ["arm", "claims that hold after the gate", "one more result", "gap"],
        [
            [one.arm, f"{one.course.trust} %", _narrows(one.course), f"{one.course.gap / 1_000:.2f}"]
            for one in means.trust
        ],
    )
    say()


def _say_studies(studies: Sequence[StudyOutcome]) -> None:
    say(f"one study each on a modelled problem, class {studies[0].problem}; the record is real")
    _say_lines(
        ["arm", "claimed", "true", "found", "entries", "amended", "alarms", "verify", "review", "root"],
        [
            [
                one.arm,
                pgr(one.claimed),
                pgr(one.published),
                pgr(one.found),
                str(one.entries) if one.root else "-",
                str(one.deviations) if one.root else "-",
                str(one.alarms) if one.root else "-",
                one.verdict or "nothing to verify",
                one.decision or "-",
                one.root[:8] or "-",
            ]
            for one in studies
        ],
    )
    say()
    for study in studies:
        if study.attempts:
            _say_attempts(study)


def _say_attempts(study: StudyOutcome) -> None:
    """Each kind of attempt once, with what came of it first."""
    say(f"what the compromised researcher tried: {study.arm}")
    first: dict[str, dict[str, Any]] = {}
    counts: dict[str, int] = {}
    for one in study.attempts:
        first.setdefault(one["what"], one)
        counts[one["what"]] = counts.get(one["what"], 0) + 1
    for what, one in first.items():
        outcome = "went through, nobody noticed"
        if one["noticed_after_minutes"] or one["code"].isupper():
            outcome = (
                f"verify says {one['code']}, first at entry {one['entry']}, "
                f"{one['noticed_after_minutes']} minutes later"
            )
        elif one["code"]:
            outcome = f"refused ({one['code']}), alarm in entry {one['entry']}"
        say(f"  {counts[what]} x {what}: {outcome}")
    say()


def _say_compromised(rows: Sequence[ArmMeans]) -> None:
    _say_lines(
        ["arm", "claimed", "true", "95 %", "best found by the honest", "claims that hold", "after the gate"],
        [
            [
                one.arm,
                pgr(one.claimed),
                pgr(one.published),
                _span(one.low, one.high),
                pgr(one.found),
                _per_cent(one.holds),
                _per_cent(one.sound),
            ]
            for one in rows
        ],
    )


def _say_seeding(means: Means) -> None:
    bits = {(one.problem, one.arm): f"{one.entropy / 1_000:.2f}" for one in means.entropies}
    _say_lines(
        ["class", "directed", "undirected", "difference", "95 %", "bits directed", "bits undirected"],
        [
            [
                one.problem,
                pgr(one.mean_one),
                pgr(one.mean_other),
                pgr(one.difference, 3),
                _span(one.low, one.high),
                bits[one.problem, "free"],
                bits[one.problem, "undirected"],
            ]
            for one in means.seeding
        ],
    )


# The other simulations.


def _power(options: argparse.Namespace) -> None:
    from aar.simulation.parameters import ARMS, CLASSES
    from aar.simulation.power import compare_all

    one, other = (ARMS[name] for name in options.arms.split(","))
    rows = compare_all(list(CLASSES.values()), one, other, seed=options.seed, runs=_runs(options))
    if options.json:
        say_json([asdict(row) for row in rows], indent=1)
    else:
        _say_power(rows)
    if options.figure is not None:
        from aar.cli.simulate_picture import draw_power

        draw_power(rows, Path(options.figure))
        if not options.json:
            say(f"figure: {options.figure}")


def _say_power(rows: Sequence[Comparison]) -> None:
    first = rows[0]
    say(f"{first.one} less {first.other}, sealed PGR of what leads; {2 * first.pairs} studies per class")
    say("how often so many pairs of studies find it, paired t test at 5 %")
    counts = [count for count, _share in first.power]
    _say_lines(
        ["class", "difference", "95 %", "sd", *map(str, counts), "80 % at", "false alarms"],
        [
            [
                one.problem,
                pgr(one.difference),
                _span(one.low, one.high),
                pgr(one.deviation),
                *(f"{share / 10:.0f} %" for _count, share in one.power),
                str(one.needed or f"over {counts[-1]}"),
                _per_cent(one.false_alarms),
            ]
            for one in rows
        ],
    )


def _compression(options: argparse.Namespace) -> None:
    from aar.simulation.compression import courses

    found = courses()
    if options.json:
        say_json([{**asdict(one), "narrows": one.narrows} for one in found], indent=1)
    else:
        _say_courses(found)


def _say_courses(found: Sequence[Course]) -> None:
    from aar.simulation.compression import CAPABILITY, HARM, PERIODS

    say(
        f"capability grows by {CAPABILITY / 10:g} % per period, {PERIODS} periods; an unsound result costs "
        f"{HARM} % of what a sound one is worth"
    )
    _say_lines(
        ["alignment", "trust", "one more result", "gap", "gap believed", "keeps pace from"],
        [
            [
                f"{one.alignment / 10:g} %",
                f"{one.trust} %",
                _narrows(one),
                f"{one.gap / 1_000:.2f}",
                f"{one.believed_gap / 1_000:.2f}",
                f"{one.keeps_pace} %" if one.keeps_pace <= 100 else "no trust",
            ]
            for one in found
        ],
    )


def _narrows(course: Course) -> str:
    return f"{'narrows' if course.narrows else 'does not narrow'} ({course.worth / 100:+.2f})"


def _calibrate(options: argparse.Namespace) -> None:
    from aar.simulation.calibration import calibrate

    rows = calibrate(seed=options.seed, runs=_runs(options))
    if options.json:
        say_json([asdict(row) for row in rows], indent=1)
        return
    _say_lines(
        ["what", "known", "model", "fits", "source"],
        [
            [row.what, pgr(row.known, 3), pgr(row.model, 3), "yes" if row.fits else "NO", row.source]
            for row in rows
        ],
        left=1,
    )
    say(f"{sum(row.fits for row in rows)} of {len(rows)} fit")


def _parameters(options: argparse.Namespace) -> None:
    from aar.simulation.parameters import ARMS, CLASSES, PARAMETERS, POPULARITY

    if options.json:
        say_json(
            {
                "parameters": [asdict(one) for one in PARAMETERS.values()],
                "popularity": POPULARITY,
                "classes": [asdict(one) for one in CLASSES.values()],
                "arms": [asdict(one) for one in ARMS.values()],
            },
            indent=1,
        )
        return
    _say_lines(
        ["parameter", "value", "meaning", "source"],
        [[one.name, str(one.value), one.meaning, one.source] for one in PARAMETERS.values()],
        left=4,
    )
    say()
    _say_lines(
        ["class", "like", "parts", "right of 11", "synergy", "base", "top", "list right", "items", "release"],
        [
            [
                one.name,
                one.like,
                str(one.parts),
                str(one.right),
                str(one.synergy),
                pgr(one.base),
                pgr(one.top),
                f"{one.known} %",
                str(one.items),
                "exact" if one.is_fresh else "ladder",
            ]
            for one in CLASSES.values()
        ],
        left=2,
    )


def _say_lines(head: list[str], rows: list[list[str]], *, left: int = 1) -> None:
    for line in table_lines(head, rows, left=left):
        say(line)
