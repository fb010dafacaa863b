"""Problems by name, each built once. Bench code: they hold labels."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from aar.lab.problems import JSONL, check_problem
from aar.lab.problems.problem import AnyProblem

IN_DIRECTORY = f"{JSONL}:"


@cache
def problem_named(name: str) -> AnyProblem:
    """The problem of that name, built once; `UnknownProblem` lists what there is.

    ``jsonl:DIR`` is the data set in DIR, if metadata do not give its labels away.
    """
    if name.startswith(IN_DIRECTORY):
        from aar.lab.problems.jsonl import JsonlProblem, read_jsonl
        from aar.lab.problems.preflight import preflight

        problem = JsonlProblem(read_jsonl(Path(name.removeprefix(IN_DIRECTORY))))
        preflight(problem).check()
        return problem
    check_problem(name)
    # One problem needs scikit-learn, another a model's weights: each is imported when it is asked for.
    if name == "digits":
        from aar.lab.problems.digits import Digits

        return Digits()
    if name == "overlap":
        from aar.lab.problems.overlap import overlap

        return overlap()
    if name == "shortcut":
        from aar.lab.problems.shortcut import shortcut

        return shortcut()
    from aar.lab.problems.claims import Claims

    return Claims(is_elicited=name == "claims-ue")
