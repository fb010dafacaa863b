"""What can be wrong with an experiment's definition."""


class LabError(ValueError):
    """An experiment that cannot be run as it is written."""


class UnknownProblem(LabError):
    """No problem of that name."""


class MalformedPipeline(LabError):
    """Not a pipeline: an unknown block, a parameter out of range, or no objective."""


class MalformedInstance(LabError):
    """Arrays that do not fit each other, or hold what is no probability."""


class MalformedSplit(LabError):
    """Item ids that are not of the pool, or that teach, train and test at once."""


class DegenerateGapError(LabError):
    """Weak teacher and ceiling are too close for a PGR to mean anything."""


class MalformedWeights(LabError):
    """A file of a model's weights that is cut, of another kind, or of another shape."""


class MalformedData(LabError):
    """A data set's file does not fit the layout; `file` and `line` (0: all of it) say where."""

    def __init__(self, file: str, line: int, message: str) -> None:
        super().__init__(f"{file}:{line}: {message}" if line else f"{file}: {message}")
        self.file, self.line = file, line


class MetadataPredictsLabels(LabError):
    """What stands beside the questions predicts the label better than the weak teacher does."""
