"""A method's snapshot as bytes: what is handed in, and which families of ideas its blocks stand for.

The gateway reads this of every submission, so no numerical library is needed for it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from aar.formats.canonical import format_canonical

CONFIG = "config.json"
METHOD = '''"""A pipeline of aar.lab's blocks, as config.json beside this file says."""

from pathlib import Path

from aar.lab.pipeline import parse_pipeline_text, run_pipeline

PIPELINE = parse_pipeline_text(Path(__file__).with_name("config.json").read_text("utf-8"))


def predict(instance, rng):
    return run_pipeline(PIPELINE, instance, rng)
'''

# As the blocks themselves say, which is tested.
FAMILIES: Mapping[str, tuple[str, ...]] = {
    family: tuple(names.split())
    for family, names in {
        "neighbourhood": "knn label_prop cluster_vote agree_keep topo_keep overlap_w knn_vote spread",
        "self-training": "self_train bootstrap student_poe icm refine",
        "prior": "balance sinkhorn prior_match",
        "confidence": "harden conf_keep conf_w anti_w logconf product entropy",
        "channel": "dividemix em_class em_conf forward",
        "robustness": "views probe_keep small_loss gce sce reverse_kl mixup coteach",
        "ensembles": "dawid_skene vote_mean bag",
        "elicitation": "pc1 twomeans gmm ccs poe zero_shot evolve",
        "representation": "pca whiten drop_top erase_weak spectral",
        "baseline": "probe",
        "simplicity": "early_stop window",
    }.items()
}
FAMILY_OF = {name: family for family, names in FAMILIES.items() for name in names}


def families_of(files: Mapping[str, str]) -> tuple[str, ...]:
    """The families that a snapshot's blocks stand for, each once, in the order of the blocks.

    Nothing for a program of the researcher's own: only of the very bytes of `METHOD` is it known that they
    run the pipeline beside them and nothing else. Nothing either for what is no list of known blocks.
    """
    if set(files) != {"method.py", CONFIG} or files["method.py"] != METHOD:
        return ()
    try:
        steps = json.loads(files[CONFIG])
        # A block of a later version is written "NAME/2": the idea is the same.
        names = (name.partition("/")[0] for name, _parameters in steps)
        return tuple(dict.fromkeys(FAMILY_OF[name] for name in names))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ()


def snapshot_digest(files: Mapping[str, str]) -> str:
    """What a submission entry must say was handed in: hex SHA-256 of the snapshot."""
    return hashlib.sha256(format_canonical({"files": dict(files)})).hexdigest()
