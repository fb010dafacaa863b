"""A method as it is handed in: a few lines of method.py, and the pipeline beside it as config.json."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from aar.formats.canonical import format_canonical
from aar.lab.errors import MalformedPipeline
from aar.lab.pipeline import Pipeline, format_pipeline, parse_pipeline_text

CONFIG = "config.json"
METHOD = '''"""A pipeline of aar.lab's blocks, as config.json beside this file says."""

from pathlib import Path

from aar.lab.pipeline import parse_pipeline_text, run_pipeline

PIPELINE = parse_pipeline_text(Path(__file__).with_name("config.json").read_text("utf-8"))


def predict(instance, rng):
    return run_pipeline(PIPELINE, instance, rng)
'''


def method_files(pipeline: Pipeline) -> dict[str, str]:
    """The files to hand in for a pipeline."""
    return {"method.py": METHOD, CONFIG: format_pipeline(pipeline)}


def pipeline_of(files: Mapping[str, str]) -> Pipeline | None:
    """The pipeline of a snapshot, `None` for a method that is something else."""
    try:
        return parse_pipeline_text(files.get(CONFIG, ""))
    except MalformedPipeline:
        return None


def snapshot_digest(files: Mapping[str, str]) -> str:
    """What a submission entry must say was handed in: hex SHA-256 of the snapshot."""
    return hashlib.sha256(format_canonical({"files": dict(files)})).hexdigest()
