"""What a fine-tuned student costs: LoRA on the lab's small transformer, and on models of real size on a GPU.

    PYTHONPATH=src python3 benchmarks/students.py [--quick] [--no-gpu] [--budget SECONDS]

Needs torch, transformers and peft; downloads nothing: the models have random weights. One JSON object a
line. The small model runs on the processor, on one thread: 2,000 rows x 3 epochs of six tokens, in processor
seconds. Where torch sees a GPU, models of the shapes of Qwen3-0.6B and Qwen3-4B follow, in bf16, on rows in
which one token decides the label: examples and tokens a second, peak memory, how far the loss fell, the share
of the device's bf16 peak. A step that fails says so in its line and the next one runs; when the budget is
used up, what is left out is said.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import platform
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from aar.lab.students.huggingface import HFClassifier
from aar.lab.students.losses import LOSSES, Loss
from aar.lab.students.models import SMALL, Configured
from aar.lab.students.settings import HFConfig
from aar.lab.students.texts import Answers

ANSWERS = Answers(no=4, yes=2)

# Shapes as in the models' own config.json; the weights here are random.
QWEN3: Mapping[str, Any] = {
    "model_type": "qwen3",
    "vocab_size": 151_936,
    "head_dim": 128,
    "num_key_value_heads": 8,
    "max_position_embeddings": 32_768,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
    "tie_word_embeddings": True,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
SHAPES: Mapping[str, Mapping[str, Any]] = {
    "0.6B": {
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
    },
    "4B": {
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
    },
}
# Dense bf16 tensor-core peaks in TFLOP/s, by a word in the device's name, from the vendor's data sheets.
PEAK_TFLOPS = {"H200": 989.0, "H100": 989.0, "A100": 312.0}


def say(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


def rows_of(count: int, length: int, vocabulary: int, seed: int) -> tuple[list[list[int]], np.ndarray]:
    """Rows of 3/4 of `length` to `length` tokens; the last one decides: 10 is no, 20 is yes."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(max(length * 3 // 4, 3), length + 1, count)
    rows = [rng.integers(30, vocabulary, size).tolist() for size in lengths]
    truth = rng.random(count) < 0.5
    for row, is_one in zip(rows, truth, strict=True):
        row[-1] = 20 if is_one else 10
    return rows, truth.astype(np.float64)


def small_rows(count: int, seed: int) -> tuple[list[list[int]], np.ndarray]:
    rng = np.random.default_rng(seed)
    spans = ((0, 1), (6, 9), (10, 58), (58, 70), (70, 118), (1, 2))
    rows = np.column_stack([rng.integers(low, high, count) for low, high in spans])
    return rows.tolist(), (rows[:, 4] % 2 == 0).astype(np.float64)


def on_the_small_model(repeats: int) -> None:
    """Processor seconds of LoRA and of full fine-tuning on 2,000 rows x 3 epochs, and of one answer."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rows, truth = small_rows(2_000, 0)
    fresh, fresh_truth = small_rows(2_500, 1)
    for adaptation in ("lora", "full"):
        config = HFConfig(device="cpu", rank=8, alpha=16, epochs=3, learning_rate=5e-3, adaptation=adaptation)
        one = HFClassifier[list[int]](Configured.of(SMALL), config, ANSWERS)
        one.fit(rows[:64], truth[:64], seed=0)
        fits = []
        for _repeat in range(repeats):
            began = time.process_time()
            one.fit(rows, truth, seed=1)
            fits.append(time.process_time() - began)
        began = time.process_time()
        answers = one.predict(fresh)
        say(
            what=f"{adaptation} on the small transformer",
            device="cpu, 1 thread",
            examples=one.training.examples,
            fit_cpu_s=[round(seconds, 3) for seconds in fits],
            fit_cpu_s_median=round(statistics.median(fits), 3),
            predict_cpu_s=round(time.process_time() - began, 3),
            loss_first=round(one.training.losses[0], 4),
            loss_last=round(one.training.losses[-1], 4),
            test_accuracy=round(float(((answers > 0.5) == fresh_truth).mean()), 4),
            trained_parameters=one.training.trained_parameters,
            parameters=one.training.parameters,
        )
    torch.set_num_threads(threads)


def on_a_gpu(
    name: str, fields: Mapping[str, Any], *, device: str, length: int, count: int, config: HFConfig
) -> None:
    """One model: examples a second while training and answering, memory, loss, share of the device's peak."""
    import torch

    is_cuda = device.startswith("cuda")
    source = Configured.of(fields, seed=0)
    rows, truth = rows_of(count, length, int(fields["vocab_size"]), 0)
    fresh, fresh_truth = rows_of(min(count, 128), length, int(fields["vocab_size"]), 1)
    one = HFClassifier[list[int]](source, config, ANSWERS)
    began = time.perf_counter()
    # The first kernels of a kind are slow to start; and this is what loading and adapting the model take.
    one.fit(rows[: config.batch], truth[: config.batch], seed=1)
    warm_s = time.perf_counter() - began
    began = time.perf_counter()
    one.fit(rows[: config.batch], truth[: config.batch], seed=1)
    start_s = time.perf_counter() - began
    if is_cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    one.fit(rows, truth, seed=1)
    fit_s = time.perf_counter() - began
    # What was measured with one step more in it than loading takes alone.
    steps = len(one.training.losses)
    train_s = max(fit_s - start_s, 1e-9) * steps / max(steps - config.epochs, 1)
    began = time.perf_counter()
    answers = one.predict(fresh)
    predict_s = time.perf_counter() - began
    tokens = sum(map(len, rows)) * config.epochs
    tokens_per_s = tokens / train_s
    body = one.training.parameters - int(fields["vocab_size"]) * int(fields["hidden_size"])
    # Forward 2, backward 2 for what flows back (frozen weights have no gradient of their own); full: 6.
    flops_per_token = (4 if config.adaptation == "lora" else 6) * body
    flops_per_token += 2 * body if config.gradient_checkpointing else 0
    tflops = tokens_per_s * flops_per_token / 1e12
    peak = next((peak for word, peak in PEAK_TFLOPS.items() if is_cuda and word in device_name(device)), None)
    losses = one.training.losses
    edge = max(len(losses) // 8, 1)
    say(
        what=f"{config.adaptation} on Qwen3 {name} shapes, random weights",
        device=device_name(device),
        parameters=one.training.parameters,
        trained_parameters=one.training.trained_parameters,
        deterministic=config.deterministic,
        checkpointing=config.gradient_checkpointing,
        loss=config.loss.name,
        batch=config.batch,
        micro_batch=config.micro_batch,
        tokens_per_row=round(tokens / one.training.examples, 1),
        examples=one.training.examples,
        first_step_s=round(warm_s, 2),
        load_and_one_step_s=round(start_s, 2),
        fit_s=round(fit_s, 2),
        examples_per_s=round(one.training.examples / train_s, 2),
        tokens_per_s=round(tokens_per_s),
        tflops=round(tflops, 1),
        share_of_peak=None if peak is None else round(tflops / peak, 3),
        predict_examples_per_s=round(len(fresh) / predict_s, 1),
        peak_memory_gib=round(torch.cuda.max_memory_allocated() / 2**30, 2) if is_cuda else None,
        loss_first=round(statistics.fmean(losses[:edge]), 4),
        loss_last=round(statistics.fmean(losses[-edge:]), 4),
        loss_fell=statistics.fmean(losses[-edge:]) < statistics.fmean(losses[:edge]),
        test_accuracy=round(float(((answers > 0.5) == fresh_truth).mean()), 4),
    )


def same_twice(fields: Mapping[str, Any], *, device: str, config: HFConfig) -> None:
    """Whether the same seed gives the same answers to the bit on this device, per loss."""
    rows, truth = rows_of(64, 48, int(fields["vocab_size"]), 2)
    equal = {}
    for loss in LOSSES:
        one = HFClassifier[list[int]](
            Configured.of(fields), dataclasses.replace(config, loss=Loss.of(loss), max_tokens=48), ANSWERS
        )
        first, second = (one.fit(rows, truth, seed=3).predict(rows[:32]) for _time in range(2))
        equal[loss] = bool((first == second).all())
    say(
        what="the same seed twice", device=device_name(device), adaptation=config.adaptation, bits_equal=equal
    )


def device_name(device: str) -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu"


class Steps:
    """Runs steps one after another until the time is up; one that fails is said and passed over."""

    def __init__(self, budget_s: float) -> None:
        self._began = time.perf_counter()
        self._budget_s = budget_s
        self.failed = 0

    def run(self, name: str, needs_s: float, step: Callable[[], None]) -> None:
        left = self._budget_s - (time.perf_counter() - self._began)
        if left < needs_s:
            say(what=name, left_out=f"{left:.0f} s left of {self._budget_s:.0f}, it may take {needs_s:.0f}")
            return
        began = time.perf_counter()
        try:
            step()
        # Whatever went wrong, the next step is worth its time: a lent device is not lent twice.
        except Exception as error:  # noqa: BLE001
            self.failed += 1
            say(what=name, failed=f"{type(error).__name__}: {error}"[:600])
            traceback.print_exc()
        say(what=name, wall_s=round(time.perf_counter() - began, 1))
        gc.collect()
        if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
            sys.modules["torch"].cuda.empty_cache()


def gpu_steps(steps: Steps, device: str, quick: bool, shapes: Sequence[str], length: int) -> None:
    """The steps on one device, those that matter most first."""
    tiny = {**QWEN3, **SHAPES["0.6B"], "num_hidden_layers": 2, "vocab_size": 1_000}
    base = HFConfig(
        device=device, precision="bf16", learning_rate=1e-3, epochs=1, batch=32, max_tokens=length
    )
    count = 128 if quick else 768
    plans: list[tuple[str, str, int, HFConfig]] = []
    if "0.6B" in shapes:
        plans.append(("lora 0.6B", "0.6B", count, base))
    if "4B" in shapes:
        # 16,000 tokens at once would leave activations of over 100 GB.
        large = dataclasses.replace(base, learning_rate=5e-4, micro_batch=8)
        plans.append(("lora 4B", "4B", count, large))
        if not quick:
            again = dataclasses.replace(large, deterministic=False)
            plans.append(("lora 4B, any kernels", "4B", count // 3, again))
            saving = dataclasses.replace(large, micro_batch=0, gradient_checkpointing=True)
            plans.append(("lora 4B, checkpointing", "4B", count // 3, saving))
    if "0.6B" in shapes and not quick:
        whole = dataclasses.replace(base, adaptation="full", learning_rate=1e-4, micro_batch=16)
        plans.append(("full 0.6B", "0.6B", count // 2, whole))
        parts = dataclasses.replace(base, micro_batch=8, loss=Loss.of("logconf"))
        plans.append(("lora 0.6B, logconf in micro-batches", "0.6B", count // 4, parts))
    for name, shape, items, config in plans:
        fields = {**QWEN3, **SHAPES[shape]}
        steps.run(
            name,
            30 if shape == "4B" else 15,
            lambda fields=fields, config=config, items=items, shape=shape: on_a_gpu(
                shape, fields, device=device, length=length, count=items, config=config
            ),
        )
    for adaptation in ("lora", "full"):
        config = dataclasses.replace(base, adaptation=adaptation)
        steps.run(
            f"the same seed twice, {adaptation}",
            15,
            lambda config=config: same_twice(tiny, device=device, config=config),
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="a look whether all of it runs: a sixth of the rows"
    )
    parser.add_argument("--no-gpu", action="store_true", help="the small model alone")
    parser.add_argument("--no-small", action="store_true", help="the GPU alone")
    parser.add_argument("--budget", type=float, default=230, metavar="SECONDS", help="begin nothing after it")
    parser.add_argument("--shapes", nargs="*", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--length", type=int, default=512, help="the longest row, in tokens")
    options = parser.parse_args()
    steps = Steps(options.budget)
    began = time.perf_counter()
    import peft
    import torch
    import transformers

    say(
        what="this machine",
        python=platform.python_version(),
        torch=torch.__version__,
        transformers=transformers.__version__,
        peft=peft.__version__,
        import_s=round(time.perf_counter() - began, 2),
        gpu=device_name("cuda") if torch.cuda.is_available() else None,
        threads=torch.get_num_threads(),
    )
    transformers.logging.set_verbosity_error()
    if not options.no_small:
        steps.run("the small transformer", 30, lambda: on_the_small_model(1 if options.quick else 3))
    if not options.no_gpu and torch.cuda.is_available():
        gpu_steps(steps, "cuda", options.quick, options.shapes, options.length)
    say(what="done", failed=steps.failed)
    return 1 if steps.failed else 0


if __name__ == "__main__":
    sys.exit(main())
