"""Problems: real weak teachers, real strong students, real ceilings; the names a study file may use."""

from __future__ import annotations

from aar.lab.errors import UnknownProblem

# Names only: the command line reads them at every start, and the problems themselves hold labels.
PROBLEMS = ("claims", "digits", "overlap", "shortcut", "claims-ue")
DEFAULT_PROBLEM = "claims"
# A data set in the published study's layout, whose directory a study file names; these are its files.
JSONL = "jsonl"
JSONL_FILES = ("train_label.jsonl", "train_unlabel.jsonl", "test.jsonl")
STUDY_PROBLEMS = (*PROBLEMS, JSONL)
# Where an honest PGR is near nothing: a method that scores here knows the labels from elsewhere.
CANARIES = ("shortcut",)


def check_problem(name: object) -> None:
    """`UnknownProblem` unless the lab has a problem of that name."""
    if name not in PROBLEMS:
        raise UnknownProblem(f"no problem {name!r:.60}; there is: {', '.join(PROBLEMS)}")
