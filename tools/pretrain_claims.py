#!/usr/bin/env python3
"""Pre-train the small transformer of the problem `claims` and write its weights and hidden states.

    python -m venv v && v/bin/pip install torch==2.13.0 transformers==5.24.0 safetensors==0.8.0 numpy
    OMP_NUM_THREADS=1 PYTHONPATH=src v/bin/python tools/pretrain_claims.py            # about two CPU-minutes
    OMP_NUM_THREADS=1 PYTHONPATH=src v/bin/python tools/pretrain_claims.py --check    # compare, write nothing

A Llama of 89,792 parameters reads 1,200 batches of 384 texts of `aar.lab.problems.claims_world`. Another
machine or another torch rounds otherwise, and training enlarges that. So `--check` says how far the features
are from the shipped ones, and passes if they are near or if the ceiling of the problem is. Whoever has no
torch checks that the shipped features follow from the shipped weights: tests/lab/test_problem_claims.py.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from pathlib import Path

import numpy as np

from aar.lab.experiment import sample
from aar.lab.problems import claims_world as world
from aar.lab.problems.claims import Claims

DATA = Path(__file__).resolve().parents[1] / "src" / "aar" / "lab" / "data"
WEIGHTS, CONFIG, FEATURES, DIGESTS = (
    "claims-llama/model.safetensors",
    "claims-llama/config.json",
    "claims-features.npy",
    "claims.json",
)
SEED, BATCH, STEPS, SCHEDULE, PEAK, WARM_UP = 2, 384, 1_200, 1_600, 3e-3, 0.1
SHAPE = {
    "vocab_size": world.VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 16,
    "tie_word_embeddings": True,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10_000.0,
    "bos_token_id": world.BOS,
    "eos_token_id": world.EOS,
}
# How far features (standardised), or else the mean ceiling over a few splits, may be from the shipped ones.
NEAR_FEATURE, NEAR_CEILING, CHECKED_SEEDS = 2e-2, 3e-2, 5


def pretrain(seed: int):
    """The trained model; prints its loss on the way."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**SHAPE))
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=PEAK, total_steps=SCHEDULE, pct_start=WARM_UP
    )
    rng = np.random.default_rng(seed)
    model.train()
    for step in range(STEPS):
        batch = torch.from_numpy(world.texts(BATCH, rng))
        loss = model(input_ids=batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            print(f"step {step + 1}: loss {loss.item():.4f}", file=sys.stderr)
    return model.eval()


def features_of(model) -> np.ndarray:
    """Hidden states after the last norm at every claim's full stop [6048, 64], standardised, float16."""
    import torch

    claims, _truth = world.pool()
    with torch.no_grad():
        state = model.model(input_ids=torch.from_numpy(claims)).last_hidden_state[:, world.DOT_AT]
    raw = state.numpy().astype(np.float64)
    return ((raw - raw.mean(axis=0)) / raw.std(axis=0)).astype(np.float16)


def write(model, features: np.ndarray, data: Path, seed: int) -> None:
    """Weights, configuration, features, and a file of digests with how they were made."""
    import torch
    import transformers
    from safetensors.torch import save_file

    (data / "claims-llama").mkdir(parents=True, exist_ok=True)
    # The head is tied to the embedding: one copy of it.
    tensors = {name: tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    save_file(tensors, data / WEIGHTS, metadata={"format": "pt"})
    (data / WEIGHTS).chmod(0o644)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", **SHAPE}
    (data / CONFIG).write_text(json.dumps(config, indent=1) + "\n")
    np.save(data / FEATURES, features, allow_pickle=False)
    made = {
        "made_by": "tools/pretrain_claims.py",
        "seed": seed,
        "steps": STEPS,
        "batch": BATCH,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "sha256": {
            name: hashlib.sha256((data / name).read_bytes()).hexdigest()
            for name in (WEIGHTS, CONFIG, FEATURES)
        },
    }
    (data / DIGESTS).write_text(json.dumps(made, indent=1) + "\n")


def check(features: np.ndarray) -> bool:
    """Whether the features are near the shipped ones, or make a problem of the same ceiling; told."""
    shipped, made = Claims(), Claims()
    made.__dict__["features"] = features.astype(np.float32)
    feature = float(np.abs(made.features - shipped.features).max())
    print(f"largest difference in a feature: {feature:.3g} (near is {NEAR_FEATURE:g})")
    ceilings = [
        float(np.mean([sample(problem, seed).taught.ceiling_correct.mean() for seed in range(CHECKED_SEEDS)]))
        for problem in (shipped, made)
    ]
    print(f"ceiling: {ceilings[0]:.4f} shipped, {ceilings[1]:.4f} made (near is {NEAR_CEILING:g})")
    return feature <= NEAR_FEATURE or abs(ceilings[0] - ceilings[1]) <= NEAR_CEILING


def main() -> int:
    parser = argparse.ArgumentParser(description="Pre-train the small transformer of `claims`.")
    parser.add_argument("--check", action="store_true", help="compare with what is shipped, write nothing")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of weights and texts (default {SEED})")
    parser.add_argument("--directory", type=Path, default=DATA, help="where to write (default: the package)")
    arguments = parser.parse_args()
    began = time.process_time()
    model = pretrain(arguments.seed)
    features = features_of(model)
    print(f"{time.process_time() - began:.0f} CPU-seconds", file=sys.stderr)
    if arguments.check:
        return 0 if check(features) else 1
    write(model, features, arguments.directory, arguments.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
