"""Problems by name, each built once. Bench code: they hold labels."""

from __future__ import annotations

from functools import cache

from aar.lab.problems import check_problem
from aar.lab.problems.problem import AnyProblem


@cache
def problem_named(name: str) -> AnyProblem:
    """The problem of that name, built once; `UnknownProblem` lists what there is."""
    check_problem(name)
    from aar.lab.problems.digits import Digits

    return {"digits": Digits}[name]()
