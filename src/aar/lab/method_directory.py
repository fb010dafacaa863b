"""A method as it is handed in: a few lines of method.py, and the pipeline beside it as config.json."""

from __future__ import annotations

from collections.abc import Mapping

from aar.lab.errors import MalformedPipeline
from aar.lab.pipeline import Pipeline, format_pipeline, parse_pipeline_text
from aar.lab.snapshot import CONFIG, METHOD


def method_files(pipeline: Pipeline) -> dict[str, str]:
    """The files to hand in for a pipeline."""
    return {"method.py": METHOD, CONFIG: format_pipeline(pipeline)}


def pipeline_of(files: Mapping[str, str]) -> Pipeline | None:
    """The pipeline of a snapshot, `None` for a method that is something else."""
    try:
        return parse_pipeline_text(files.get(CONFIG, ""))
    except MalformedPipeline:
        return None
