"""Methods: the named single-idea pipelines that tables compare, and a profile that withholds blocks."""

from __future__ import annotations

from collections.abc import Mapping

from aar.lab.blocks import BLOCKS
from aar.lab.pipeline import VANILLA, needs_of, parse_pipeline_text

# One idea each, parameters fixed for all problems; the last ones are compositions, and say so.
METHODS: Mapping[str, str] = {
    "vanilla": VANILLA,
    "vanilla_soft": '[["probe", {}]]',
    "strong_l2_x30": '[["harden", {}], ["probe", {"l2_factor": 30}]]',
    "early_stop_8": '[["harden", {}], ["early_stop", {"steps": 8}]]',
    "logconf_aux_.5": '[["logconf", {"c": 0.5, "rounds": 15}]]',
    "logconf_aux_.75": '[["logconf", {"c": 0.75, "rounds": 15}]]',
    "entropy_loss": '[["entropy", {"c": 0.5}]]',
    "window_loss": '[["window", {}]]',
    "product_loss": '[["product", {}]]',
    "conf_filter_50": '[["conf_keep", {"q": 0.5}], ["harden", {}], ["probe", {}]]',
    "conf_reweight": '[["conf_w", {}], ["harden", {}], ["probe", {}]]',
    "anti_conf_reweight": '[["anti_w", {}], ["harden", {}], ["probe", {}]]',
    "overlap_density": '[["overlap_w", {}], ["harden", {}], ["probe", {}]]',
    "knn_relabel_20": '[["knn", {"k": 20}], ["probe", {}]]',
    "knn_filter": '[["agree_keep", {"k": 20}], ["harden", {}], ["probe", {}]]',
    "knn_vote_15": '[["knn_vote", {}]]',
    "label_prop": '[["label_prop", {"k": 15, "alpha": 0.9}], ["probe", {}]]',
    "label_prop_transductive": '[["spread", {"k": 15, "alpha": 0.9}]]',
    "cluster_vote_30": '[["cluster_vote", {"k": 30}], ["probe", {}]]',
    "topo_filter": '[["topo_keep", {}], ["harden", {}], ["probe", {}]]',
    "probe_crossfit_filter": '[["probe_keep", {}], ["harden", {}], ["probe", {}]]',
    "small_loss": '[["harden", {}], ["small_loss", {}], ["probe", {}]]',
    "coteach_smallloss": '[["harden", {}], ["coteach", {}]]',
    "dividemix_lite": '[["harden", {}], ["dividemix", {}], ["probe", {}]]',
    "gce_robust": '[["harden", {}], ["gce", {}]]',
    "symmetric_ce": '[["harden", {}], ["sce", {}]]',
    "forward_corr": '[["harden", {}], ["forward", {}]]',
    "reverse_kl": '[["reverse_kl", {}]]',
    "mixup": '[["harden", {}], ["mixup", {}]]',
    "dropout_views": '[["views", {}], ["probe", {}]]',
    "em_class_channel": '[["em_class", {}], ["probe", {}]]',
    "em_conf_channel": '[["em_conf", {}], ["probe", {}]]',
    "born_again_x5": '[["harden", {}], ["self_train", {"rounds": 5}], ["probe", {}]]',
    "bootstrap_chain": '[["harden", {}], ["bootstrap", {}], ["probe", {}]]',
    "icm_crossfit": '[["icm", {}], ["probe", {}]]',
    "icm_crossfit_bal": '[["icm", {"balanced": 1}], ["probe", {}]]',
    "two_stage_refine": '[["refine", {}], ["probe", {}]]',
    "weak_x_student_poe": '[["student_poe", {}], ["probe", {}]]',
    "prior_match_.5": '[["harden", {}], ["prior_match", {}]]',
    "balance": '[["balance", {}], ["probe", {}]]',
    "sinkhorn": '[["sinkhorn", {}], ["probe", {}]]',
    "bagging": '[["bag", {}], ["harden", {}], ["probe", {}]]',
    "lowrank_pca_8": '[["pca", {"k": 8}], ["harden", {}], ["probe", {}]]',
    "lowrank_pca_3": '[["pca", {"k": 3}], ["harden", {}], ["probe", {}]]',
    "whiten": '[["whiten", {}], ["harden", {}], ["probe", {}]]',
    "spectral": '[["spectral", {}], ["harden", {}], ["probe", {}]]',
    "drop_top": '[["drop_top", {}], ["harden", {}], ["probe", {}]]',
    "erase_weak": '[["erase_weak", {}], ["harden", {}], ["probe", {}]]',
    "pc1_truthdir": '[["pc1", {}], ["probe", {}]]',
    "twomeans": '[["twomeans", {}], ["probe", {}]]',
    "gmm2_truthdir": '[["gmm", {}], ["probe", {}]]',
    "ccs": '[["ccs", {}], ["probe", {}]]',
    "es_coherence": '[["evolve", {}]]',
    "vote_mean": '[["vote_mean", {}], ["probe", {}]]',
    "dawid_skene": '[["dawid_skene", {}], ["probe", {}]]',
    "dawid_skene_student": '[["dawid_skene", {"student": 1}], ["probe", {}]]',
    "zero_shot": '[["zero_shot", {}]]',
    "zero_shot_labels": '[["poe", {"weak": 0}], ["probe", {}]]',
    "weak_x_zero_shot_poe": '[["poe", {}], ["probe", {}]]',
    "drop_top+twomeans": '[["drop_top", {}], ["twomeans", {}], ["probe", {}]]',
    "label_prop+born_again": '[["label_prop", {"k": 15}], ["self_train", {}], ["probe", {}]]',
}

COMPOSED = frozenset({"drop_top+twomeans", "label_prop+born_again"})

# Without what solves `claims`: coordinates other than the given ones, and two clusters as a truth direction.
STARTER = frozenset(
    name for name, block in BLOCKS.items() if block.kind != "represent" and name not in ("twomeans", "gmm")
)


def methods_for(offered: frozenset[str]) -> dict[str, str]:
    """The methods that an instance can run which offers so much (`aar.lab.pipeline.offered_by`)."""
    return {name: text for name, text in METHODS.items() if needs_of(parse_pipeline_text(text)) <= offered}
