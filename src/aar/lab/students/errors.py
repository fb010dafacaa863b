"""What can be wrong with a student, its settings, its texts or its weights."""

from __future__ import annotations

from aar.lab.errors import LabError


class MalformedSettings(LabError):
    """Settings of a student that no student can have."""


class MalformedTexts(LabError):
    """Not a data set of questions and answers: a field is missing, an id stands twice, a split is empty."""


class MalformedInputs(LabError):
    """Inputs, targets and weights that do not fit each other."""


class ModelUnavailable(LabError):
    """The weights of a model cannot be had on this machine."""


class LibraryMissing(LabError):
    """A library that only fine-tuned students need is not installed."""


class TrainingDiverged(LabError):
    """A student whose numbers are no longer finite."""


class DamagedCache(LabError):
    """A cached artefact that is not what its name says."""
