"""Problems by name, each built once. Bench code: they hold labels."""

from __future__ import annotations

from functools import cache

from aar.lab.problems import check_problem
from aar.lab.problems.problem import AnyProblem


@cache
def problem_named(name: str) -> AnyProblem:
    """The problem of that name, built once; `UnknownProblem` lists what there is."""
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
