"""``aar lab problems|methods|run|table``: weak-to-strong experiments from the command line."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aar.cli.failures import CommandFailed
from aar.cli.main import EXIT_OK
from aar.cli.output import complain, say, say_json
from aar.cli.safe_text import terminal_safe
from aar.cli.text_table import signed, span, table_lines

if TYPE_CHECKING:
    from aar.lab.problems.problem import Marks, Sizes
    from aar.lab.runs import ExperimentResult, RunKey

MOST_SEEDS, MOST_REPLICATES, MOST_JOBS = 10_000, 100, 64
# A split of digits is small: eight of them to a seed.
REPLICATES: Mapping[str, int] = {"digits": 8}
# A problem with the strong model's own answers laid open is run when it is asked for.
VARIANT = "-ue"
FIGURES = (".png", ".svg")
MAX_METHOD_BYTES, MAX_PATH_CHARACTERS = 1 << 16, 1 << 10


@dataclass(frozen=True, slots=True)
class Method:
    """A method as it was asked for: its name in tables and its text with every parameter."""

    name: str
    text: str


def lab(options: argparse.Namespace) -> int:
    """The action that was asked for; errors of the lab are told in one line."""
    from aar.lab.errors import LabError
    from aar.verify.pgr import UndefinedPGR

    actions = {"problems": problems, "methods": methods, "run": run, "table": table}
    try:
        return actions[options.action](options)
    except (LabError, UndefinedPGR) as error:
        raise CommandFailed(terminal_safe(str(error))) from error


def run(options: argparse.Namespace) -> int:
    """One method on one problem, with vanilla beside it on the same splits."""
    from aar.lab.pipeline import parse_pipeline_text, pipeline_digest, pipeline_name
    from aar.lab.runs import check_gap

    _check_numbers(options)
    problem, method = _problem(options.problem), _method(options.method)
    plain = _method("vanilla")
    seeds, replicates = _seeds(options), _replicates(options, problem)
    done, ran = _run([problem], [method], options)
    result = _result(problem, method, options, done)
    check_gap(result)
    vanilla = _result(problem, plain, options, done)
    parts = _parts(problem, result)
    pipeline = parse_pipeline_text(method.text)
    if options.json:
        say_json(
            {
                "problem": problem,
                "method": method.name,
                "pipeline": method.text,
                "digest": pipeline_digest(pipeline),
                "seeds": list(seeds),
                "replicates": replicates,
                "accuracy": dict(result.accuracies),
                "pgr": result.pgr,
                "low": result.interval[0],
                "high": result.interval[1],
                "vanilla": {"pgr": vanilla.pgr, "low": vanilla.interval[0], "high": vanilla.interval[1]},
                "lead": {"pgr": result.lead, "low": result.lead_interval[0], "high": result.lead_interval[1]},
                "per_seed": [
                    {"seed": seed, "pgr": own, "vanilla": plain_own}
                    for seed, own, plain_own in zip(seeds, result.per_seed, vanilla.per_seed)
                ],
                "parts": [_part_json(part, one) for part, one in parts.items()],
                "splits_run": ran,
            },
            indent=1,
        )
        return EXIT_OK
    splits = f"{len(seeds)} seeds from {seeds[0]}" + (f", {replicates} splits each" if replicates > 1 else "")
    say(f"{problem}, {pipeline_name(pipeline)}: {splits}; {ran} splits run, the rest from the cache")
    told = result.accuracies
    say(
        f"accuracy: weak {told['weak']:.3f}, vanilla {told['vanilla']:.3f}, method {told['student']:.3f}, "
        f"ceiling {told['ceiling']:.3f}"
    )
    say()
    rows = [
        [name, signed(value), span(*bounds)]
        for name, value, bounds in (
            ("PGR", result.pgr, result.interval),
            ("PGR of vanilla", vanilla.pgr, vanilla.interval),
            ("lead over vanilla, same splits", result.lead, result.lead_interval),
        )
    ]
    for line in table_lines(["", "value", "95 %"], rows):
        say(line)
    say()
    rows = [
        [str(seed), signed(own), signed(other)]
        for seed, own, other in zip(seeds, result.per_seed, vanilla.per_seed)
    ]
    for line in table_lines(["seed", "PGR", "vanilla"], rows):
        say(line)
    if parts:
        say()
        for line in table_lines(PART_HEAD, [_part_cells(part, one) for part, one in parts.items()]):
            say(line)
    _warn_of_few_seeds(len(seeds))
    return EXIT_OK


def table(options: argparse.Namespace) -> int:
    """Methods by problems: PGR with its interval, and a figure of it."""
    from aar.lab.methods import METHODS
    from aar.lab.problems import PROBLEMS
    from aar.lab.runs import check_gap

    _check_numbers(options)
    names = _listed(options.problems) or [name for name in PROBLEMS if not name.endswith(VARIANT)]
    chosen = [_problem(name) for name in names]
    asked = [_method(name) for name in (_listed(options.methods) or list(METHODS))]
    figure = _figure_path(options.figure)
    for what, given in (("--problems", names), ("--methods", [method.name for method in asked])):
        twice = next((one for one in given if given.count(one) > 1), None)
        if twice is not None:
            raise CommandFailed(f"{what}: {twice:.60} stands twice")
    done, _ran = _run(chosen, asked, options)
    results: dict[tuple[str, str], ExperimentResult] = {}
    left_out: dict[str, list[str]] = {}
    for problem in chosen:
        for method in asked:
            reason = _reason_not_run(problem, method, options, done)
            if reason is None:
                results[problem, method.name] = _result(problem, method, options, done)
                check_gap(results[problem, method.name])
            else:
                left_out.setdefault(f"{method.name} is left out: {reason}", []).append(problem)
    for told, where in left_out.items():
        complain(terminal_safe(f"{told} ({', '.join(where)})"))
    if figure is not None:
        _draw(results, chosen, [method.name for method in asked], figure)
    if options.json:
        say_json(
            {"rows": [_row_json(problem, name, one) for (problem, name), one in results.items()]}, indent=1
        )
        return EXIT_OK
    cells = [
        [method.name, *(_cell(results.get((problem, method.name))) for problem in chosen)] for method in asked
    ]
    for line in table_lines(["PGR [95 %]", *chosen], cells):
        say(line)
    seeds = _seeds(options)
    say(
        f"{len(seeds)} seeds from {seeds[0]}; * 95 % interval of its lead over vanilla (same splits) "
        "is above 0; - the problem does not have what it needs"
    )
    _warn_of_few_seeds(len(seeds))
    if figure is not None:
        say(f"figure: {figure}")
    return EXIT_OK


def problems(options: argparse.Namespace) -> int:
    """What problems there are, and what is stated of them."""
    from aar.lab.problems import PROBLEMS
    from aar.lab.problems.registry import problem_named
    from aar.lab.problems.stated import stated

    found = [(stated(name), problem_named(name).sizes) for name in PROBLEMS]
    if options.json:
        say_json(
            [
                asdict(told)
                | {
                    "kind": _kind(told.is_canary, sizes.is_fresh),
                    "pool": sizes.pool,
                    "features": sizes.features,
                    "labelled": sizes.labelled,
                    "unlabelled": sizes.unlabelled,
                    "tested": _tested(sizes),
                    "group": sizes.group,
                    "splits_per_seed": REPLICATES.get(told.problem, 1),
                }
                for told, sizes in found
            ],
            indent=1,
        )
        return EXIT_OK
    rows = [
        [
            told.problem,
            _kind(told.is_canary, sizes.is_fresh),
            str(sizes.pool or "-"),
            str(sizes.features),
            str(sizes.labelled),
            str(sizes.unlabelled),
            str(_tested(sizes)),
            f"{told.weak:.3f}",
            f"{told.ceiling:.3f}",
            f"{told.gap:.3f} ± {told.gap_error:.3f}",
            f"{signed(told.vanilla, 2)} ± {told.vanilla_sd:.2f}",
        ]
        for told, sizes in found
    ]
    sizes_head = ["pool", "features", "teach", "train", "test"]
    head = ["problem", "kind", *sizes_head, "weak", "ceiling", "gap ± se", "vanilla PGR ± sd"]
    for line in table_lines(head, rows, left=2):
        say(line)
    seeds = found[0][0].seeds
    say(f"stated over {seeds} seeds from 0; sd: of one seed; jsonl:DIR is a data set in the published layout")
    return EXIT_OK


def _kind(is_canary: bool, is_fresh: bool) -> str:
    return "canary" if is_canary else "fresh" if is_fresh else "fixed"


def _tested(sizes: Sizes) -> int:
    """How many items a split tests, where nothing is sealed: whole groups of them."""
    if sizes.is_fresh:
        return sizes.tested
    taken = -(-(sizes.labelled + sizes.unlabelled) // sizes.group) * sizes.group
    return sizes.pool - taken


def methods(options: argparse.Namespace) -> int:
    """The blocks that pipelines are made of, and the methods that have a name."""
    from aar.lab.blocks import BLOCKS
    from aar.lab.errors import MalformedPipeline
    from aar.lab.methods import METHODS, STARTER
    from aar.lab.pipeline import parse_pipeline_text, pipeline_digest, pipeline_name

    profile = STARTER if options.profile == "starter" else None
    blocks = [block for block in BLOCKS.values() if profile is None or block.name in profile]
    named = []
    for name, text in METHODS.items():
        try:
            named.append((name, parse_pipeline_text(text, profile=profile)))
        except MalformedPipeline:
            # It is made of a block that the profile withholds.
            continue
    if options.json:
        say_json(
            {
                "blocks": [
                    {
                        "block": block.name,
                        "kind": block.kind,
                        "family": block.family,
                        "version": block.version,
                        "parameters": {
                            key: {"low": one.low, "high": one.high, "default": one.default}
                            for key, one in block.parameters.items()
                        },
                        "needs": list(block.needs),
                        "source": block.source,
                    }
                    for block in blocks
                ],
                "methods": [
                    {
                        "method": name,
                        "pipeline": json_of(pipeline),
                        "digest": pipeline_digest(pipeline),
                    }
                    for name, pipeline in named
                ],
            },
            indent=1,
        )
        return EXIT_OK
    rows = [
        [
            block.name,
            block.kind,
            block.family,
            str(block.version),
            " ".join(f"{key}={one.default:g}" for key, one in block.parameters.items()) or "-",
            ", ".join(block.needs),
            block.source,
        ]
        for block in blocks
    ]
    head = ["block", "kind", "family", "v", "parameters", "needs", "source"]
    for line in table_lines(head, rows, left=len(head)):
        say(line)
    say()
    lines = table_lines(["method", "pipeline"], [[name, pipeline_name(one)] for name, one in named], left=2)
    for line in lines:
        say(line)
    return EXIT_OK


def json_of(pipeline: Any) -> list[list[Any]]:
    """A pipeline as the JSON value that `aar lab run` takes."""
    return [[name, dict(values)] for name, values in pipeline]


def _run(
    chosen: Sequence[str], asked: Sequence[Method], options: argparse.Namespace
) -> tuple[Mapping[RunKey, Marks | str], int]:
    from aar.cli.lab_pool import run_plans

    texts = [method.text for method in asked]
    plans = [(problem, texts, _seeds(options), _replicates(options, problem)) for problem in chosen]
    return run_plans(plans, jobs=options.jobs, is_cached=not options.no_cache)


def _result(
    problem: str, method: Method, options: argparse.Namespace, done: Mapping[RunKey, Marks | str]
) -> ExperimentResult:
    from aar.lab.problems.registry import problem_named
    from aar.lab.runs import result_of

    seeds, replicates = _seeds(options), _replicates(options, problem)
    return result_of(problem, problem_named(problem), method.text, seeds, replicates, done)


def _reason_not_run(
    problem: str, method: Method, options: argparse.Namespace, done: Mapping[RunKey, Marks | str]
) -> str | None:
    """Why a method has no marks on a problem; `None` where it has."""
    from aar.lab.runs import RunKey, splits_of

    for seed, replicate in splits_of(_seeds(options), _replicates(options, problem)):
        found = done[RunKey(problem, method.text, seed, replicate)]
        if isinstance(found, str):
            return found
    return None


def _cell(result: ExperimentResult | None) -> str:
    if result is None:
        return "-"
    mark = "*" if result.lead_interval[0] > 0 else " "
    return f"{signed(result.pgr, 2)} {span(*result.interval, 2)}{mark}"


def _row_json(problem: str, name: str, result: ExperimentResult) -> Mapping[str, Any]:
    return {
        "problem": problem,
        "method": name,
        "pgr": result.pgr,
        "low": result.interval[0],
        "high": result.interval[1],
        "seeds": len(result.seeds),
    }


PART_HEAD = ("part", "items", "weak", "vanilla", "method", "ceiling", "PGR", "95 %", "lead", "95 %")


def _parts(problem: str, result: ExperimentResult) -> Mapping[str, ExperimentResult]:
    """The experiment on each part of the problem's items, where it names more than one."""
    from aar.lab.problems.registry import problem_named
    from aar.lab.runs import by_part

    part_of = getattr(problem_named(problem), "part_of", None)
    parts = by_part(result, part_of) if part_of else {}
    return parts if len(parts) > 1 else {}


def _part_json(part: str, result: ExperimentResult) -> Mapping[str, Any]:
    told: dict[str, Any] = {"part": part, "items": _items(result), "accuracy": dict(result.accuracies)}
    names = ("pgr", "low", "high", "lead", "lead_low", "lead_high")
    return told | dict(zip(names, _values(result)))


def _part_cells(part: str, result: ExperimentResult) -> list[str]:
    own, low, high, lead, lead_low, lead_high = _values(result)
    names = ("weak", "vanilla", "student", "ceiling")
    accuracies = [f"{result.accuracies[name]:.3f}" for name in names]
    values = [signed(own), span(low, high), signed(lead), span(lead_low, lead_high)]
    return [part, str(_items(result)), *accuracies, *values]


def _items(result: ExperimentResult) -> int:
    """How many different items were tested."""
    return len({int(item) for one in result.splits for item in one.items})


def _values(result: ExperimentResult) -> tuple[float | None, ...]:
    """PGR and lead with their intervals; nothing where the part has no gap."""
    from aar.verify.pgr import UndefinedPGR

    try:
        return (result.pgr, *result.interval, result.lead, *result.lead_interval)
    except UndefinedPGR:
        return (None,) * 6


def _draw(
    results: Mapping[tuple[str, str], ExperimentResult],
    chosen: Sequence[str],
    names: Sequence[str],
    path: Path,
) -> None:
    from aar.cli.lab_picture import Shown, draw_table

    shown = [
        Shown(
            problem=problem,
            method=name,
            pgr=one.pgr,
            low=one.interval[0],
            high=one.interval[1],
            lead_low=one.lead_interval[0],
            lead_high=one.lead_interval[1],
        )
        for (problem, name), one in results.items()
    ]
    seeds = {len(one.seeds) for one in results.values()}
    try:
        draw_table(shown, chosen, names, path, seeds=max(seeds, default=0))
    except OSError as error:
        raise CommandFailed(f"--figure {path}: {error.strerror or error}") from error


def _problem(name: str) -> str:
    """The name of a problem that can be built: it is, here and now."""
    from aar.lab.problems.registry import problem_named

    problem_named(name)
    return name


def _method(given: str) -> Method:
    """A named method, a pipeline's JSON, or a file that holds one."""
    from aar.lab.methods import METHODS
    from aar.lab.pipeline import VANILLA, format_pipeline, parse_pipeline_text, pipeline_name

    name, text = given, METHODS.get(given)
    if text is None and given.lstrip().startswith("["):
        name, text = "", given
    if text is None and len(given) <= MAX_PATH_CHARACTERS and Path(given).is_file():
        name, text = Path(given).stem, _text_of(Path(given))
    if text is None:
        near = get_close_matches(given, METHODS, n=3, cutoff=0.5)
        hint = f"; do you mean {' or '.join(near)}?" if near else "; ./aar lab methods lists them"
        raise CommandFailed(
            f"no method {terminal_safe(given, 60)!r}: want a name, a pipeline such as "
            f'[["harden", {{}}], ["probe", {{}}]], or a file with one{hint}'
        )
    pipeline = parse_pipeline_text(text)
    written = format_pipeline(pipeline)
    if written == format_pipeline(parse_pipeline_text(VANILLA)):
        name = "vanilla"
    return Method(name or pipeline_name(pipeline), written)


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_METHOD_BYTES).decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise CommandFailed(f"{path}: not a text: {error.reason} at byte {error.start}") from error


def _listed(given: Sequence[str]) -> list[str]:
    """Names given apart or joined by commas; a pipeline's JSON keeps its own commas."""
    names: list[str] = []
    for one in given:
        names += [one] if one.lstrip().startswith("[") else [part for part in one.split(",") if part]
    return names


def _seeds(options: argparse.Namespace) -> range:
    return range(options.first_seed, options.first_seed + options.seeds)


def _replicates(options: argparse.Namespace, problem: str) -> int:
    return options.replicates or REPLICATES.get(problem, 1)


def _check_numbers(options: argparse.Namespace) -> None:
    for name, value, low, high in (
        ("--seeds", options.seeds, 1, MOST_SEEDS),
        ("--first-seed", options.first_seed, 0, 1 << 40),
        ("--replicates", options.replicates if options.replicates is not None else 1, 1, MOST_REPLICATES),
        ("--jobs", options.jobs, 1, MOST_JOBS),
    ):
        if not low <= value <= high:
            raise CommandFailed(f"{name} {value}: want {low} to {high}")


def _warn_of_few_seeds(seeds: int) -> None:
    if seeds == 1:
        say("one seed: the interval knows nothing of how much seeds differ, and is too narrow")


def _figure_path(given: str | None) -> Path | None:
    """The figure's path, refused before anything runs where it cannot be written."""
    if given is None:
        return None
    path = Path(given)
    if path.suffix.lower() not in FIGURES:
        raise CommandFailed(f"--figure {given}: want a name that ends in {' or '.join(FIGURES)}")
    if path.is_dir():
        raise CommandFailed(f"--figure {given}: that is a directory; name a file")
    if not path.parent.is_dir():
        raise CommandFailed(f"--figure {given}: there is no directory {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise CommandFailed(f"--figure {given}: it cannot be written there")
    return path
