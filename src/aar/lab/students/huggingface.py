"""A student that fine-tunes a causal language model, with LoRA or all its weights, on two answer tokens.

P(y = 1) is the softmax over the logits of the two answers alone, at the last token of the prompt. torch,
transformers and peft are imported when a student is fitted.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from aar.lab.instance import Probabilities
from aar.lab.probe import sigmoid
from aar.lab.students.errors import MalformedInputs, MalformedSettings, TrainingDiverged
from aar.lab.students.losses import Tensor, threshold_of
from aar.lab.students.models import Source, library
from aar.lab.students.settings import HFConfig
from aar.lab.students.student import check_targets
from aar.lab.students.texts import Answers, Encoded, Template

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Training:
    """What a fit did: the mean loss of each step, how many examples went through, how many were cut short."""

    losses: tuple[float, ...]
    examples: int
    cut: int
    trained_parameters: int
    parameters: int


class HFClassifier(Generic[Item]):
    """A language model as a student of two answers; its items are texts (`Template`) or tokens (`Answers`).

    The same settings, seed, items and model give the same student on the same machine with the same libraries
    and number of threads; on another one, nearly the same.
    """

    def __init__(self, source: Source, config: HFConfig, reading: Template | Answers) -> None:
        self._source = source
        self._config = config
        self._reading = reading
        self._model: Any = None
        self._training: Training | None = None

    @property
    def training(self) -> Training:
        """What the last fit did; raises `MalformedInputs` before one."""
        if self._training is None:
            raise MalformedInputs("this student was not fitted; call fit first")
        return self._training

    def fit(
        self,
        inputs: Sequence[Item],
        targets: Probabilities,
        weights: Probabilities | None = None,
        *,
        seed: int | None = None,
    ) -> HFClassifier[Item]:
        """Load the model anew and train it; without a seed, that of the settings.

        Items without weight are left out; where none has any, `MalformedInputs`. `TrainingDiverged` where the
        loss is no longer finite.
        """
        check_targets(len(inputs), targets, weights)
        share = np.ones(len(inputs)) if weights is None else weights.astype(np.float64)
        kept = np.flatnonzero(share > 0)
        if not len(kept):
            raise MalformedInputs(f"none of {len(inputs)} items has weight: nothing to learn from")
        torch = library("torch")
        self._model = None
        config = self._config
        encoded = self._encoded([inputs[int(index)] for index in kept])
        chosen = config.seed if seed is None else seed
        with _settled(torch, config, chosen):
            model, trained = self._adapted(torch)
            reader = _Reader(torch, model, config, encoded)
            losses = _train(
                torch, reader, config, targets[kept], share[kept] / share[kept].mean(), trained, chosen
            )
        if not np.isfinite(losses).all():
            raise TrainingDiverged(
                f"the loss of step {int(np.flatnonzero(~np.isfinite(losses))[0])} is not finite: "
                f"take a learning rate under {config.learning_rate}"
            )
        self._model = model
        self._training = Training(
            losses=tuple(float(loss) for loss in losses),
            examples=len(kept) * config.epochs,
            cut=encoded.cut,
            trained_parameters=sum(one.numel() for one in trained),
            parameters=sum(one.numel() for one in model.parameters()),
        )
        return self

    def predict(self, inputs: Sequence[Item]) -> Probabilities:
        """P(y = 1) of each item [m]."""
        if self._model is None:
            raise MalformedInputs("this student was not fitted; call fit first")
        return self._answers(self._model, inputs)

    def zero_shot(self, inputs: Sequence[Item]) -> Probabilities:
        """P(y = 1) of each item [m] as the model answers before any training."""
        torch = library("torch")
        dtype = torch.bfloat16 if self._config.is_bf16 else torch.float32
        return self._answers(self._source.load(self._config.device, dtype), inputs)

    def _answers(self, model: Any, inputs: Sequence[Item]) -> Probabilities:
        torch = library("torch")
        config = self._config
        encoded = self._encoded(inputs)
        # Rows of like length share a batch, so that little of it is padding.
        order = sorted(range(len(encoded.rows)), key=lambda index: len(encoded.rows[index]))
        scores: NDArray[np.float64] = np.empty(len(order))
        model.eval()
        with _settled(torch, config, config.seed), torch.inference_mode():
            reader = _Reader(torch, model, config, encoded)
            for start in range(0, len(order), config.predict_batch):
                part = order[start : start + config.predict_batch]
                logits = reader.logits(part).double().cpu().numpy()
                scores[part] = logits[:, 1] - logits[:, 0]
        if not np.isfinite(scores).all():
            raise TrainingDiverged(
                f"{int((~np.isfinite(scores)).sum())} of {len(scores)} answers are not finite"
            )
        return sigmoid(scores)

    def _encoded(self, inputs: Sequence[Any]) -> Encoded:
        if not len(inputs):
            raise MalformedInputs("no items")
        if isinstance(self._reading, Answers):
            return self._reading.encode(inputs, self._config.max_tokens)
        return self._reading.encode(inputs, self._source.tokenizer(), self._config.max_tokens)

    def _adapted(self, torch: Any) -> tuple[Any, list[Any]]:
        """The model with what is to be trained in it, and that; the trained weights are fp32 always."""
        config = self._config
        is_lora = config.adaptation == "lora"
        dtype = torch.bfloat16 if config.is_bf16 and is_lora else torch.float32
        model = self._source.load(config.device, dtype)
        if is_lora:
            peft = library("peft")
            lora = peft.LoraConfig(
                r=config.rank,
                lora_alpha=config.alpha,
                lora_dropout=0.0,
                target_modules="all-linear",
                bias="none",
                task_type="CAUSAL_LM",
            )
            with warnings.catch_warnings():
                # peft asks transformers by a name that transformers is about to change.
                warnings.simplefilter("ignore", FutureWarning)
                model = peft.get_peft_model(model, lora).get_base_model()
            for module in model.modules():
                # Under autocast the adapter computes in bf16: widening its inputs first only costs memory.
                if config.is_bf16 and hasattr(module, "cast_input_dtype_enabled"):
                    module.cast_input_dtype_enabled = False
        if config.gradient_checkpointing:
            # transformers 5.24 renamed it; the older releases of the fifth have the older name alone.
            renamed = getattr(model, "activation_checkpointing_enable", None)
            (renamed or model.gradient_checkpointing_enable)({"use_reentrant": False})
        model.train()
        return model, [one for one in model.parameters() if one.requires_grad]


class _Reader:
    """Reads the two answers' logits off a model, for rows by their number."""

    def __init__(self, torch: Any, model: Any, config: HFConfig, encoded: Encoded) -> None:
        self._torch = torch
        self._config = config
        self._rows = [np.array(row, dtype=np.int64) for row in encoded.rows]
        self._answers = [encoded.no, encoded.yes]
        self._backbone = model.base_model
        self._head = model.get_output_embeddings()
        size = model.get_input_embeddings().weight.shape[0]
        largest = max(*map(max, encoded.rows), *self._answers)
        if largest >= size:
            raise MalformedInputs(f"token {largest}: the model knows 0 to {size - 1}")
        if getattr(model.config, "final_logit_softcapping", None) or self._backbone is model:
            raise MalformedSettings(
                f"{model.config.model_type}: its logits are not its head times its last hidden state, "
                "which the two-token readout needs; take another model"
            )

    def logits(self, numbers: Sequence[int]) -> Tensor:
        """Logits [n, 2] of `no` and `yes` after the last token of each row.

        Rows are padded on the right, and the model is causal: no token sees the padding, so that no mask is
        needed, and attention without one takes the quick path. The head is applied to one position and two
        words, not to the whole text and vocabulary.
        """
        torch, device = self._torch, self._config.device
        rows = [self._rows[number] for number in numbers]
        lengths = [len(row) for row in rows]
        padded = np.zeros((len(rows), max(lengths)), dtype=np.int64)
        for number, row in enumerate(rows):
            padded[number, : len(row)] = row
        ids = torch.from_numpy(padded)
        last = torch.tensor(lengths, device=device) - 1
        kind = "cuda" if device.startswith("cuda") else "cpu"
        computing = torch.autocast(kind, dtype=torch.bfloat16) if self._config.is_bf16 else nullcontext()
        with computing:
            hidden = self._backbone(input_ids=ids.to(device), use_cache=False).last_hidden_state
        at_end = hidden[torch.arange(len(rows), device=device), last].float()
        logits = at_end @ self._head.weight[self._answers].float().T
        bias = getattr(self._head, "bias", None)
        return logits if bias is None else logits + bias[self._answers].float()


def _train(
    torch: Any,
    reader: _Reader,
    config: HFConfig,
    targets: Probabilities,
    weights: Probabilities,
    trained: list[Any],
    seed: int,
) -> NDArray[np.float64]:
    """Train in place; returns the weighted mean loss of each step."""
    optimizer = torch.optim.AdamW(
        trained, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    count = len(targets)
    steps = -(-count // config.batch) * config.epochs
    aims = torch.tensor(targets, dtype=torch.float32, device=config.device)
    shares = torch.tensor(weights, dtype=torch.float32, device=config.device)
    rng = np.random.default_rng(seed)
    losses = []
    for step, batch in enumerate(_batches(count, config, rng)):
        for group in optimizer.param_groups:
            group["lr"] = config.rate(step, steps)
        size = config.micro_batch or len(batch)
        parts = [batch[start : start + size] for start in range(0, len(batch), size)]
        mean_target = float(targets[batch].mean())
        threshold = None
        if config.loss.needs_batch and len(parts) > 1:
            # What an item is asked depends on the whole batch, which never is in memory at once: look first.
            with torch.no_grad():
                threshold = threshold_of(torch.cat([reader.logits(part) for part in parts]), mean_target)
        total = torch.zeros((), device=config.device)
        for part in parts:
            logits = reader.logits(part)
            if config.loss.needs_batch and len(parts) == 1:
                threshold = threshold_of(logits, mean_target)
            each = config.loss.per_item(logits, aims[part], progress=step / steps, threshold=threshold)
            loss = (each * shares[part]).sum() / len(batch)
            loss.backward()
            total += loss.detach()
        if config.max_gradient_norm:
            torch.nn.utils.clip_grad_norm_(trained, config.max_gradient_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(total)
    # One look at the end: a look at each step would make the device wait for it.
    found: NDArray[np.float64] = torch.stack(losses).double().cpu().numpy()
    return found


def _batches(count: int, config: HFConfig, rng: np.random.Generator) -> Iterator[list[int]]:
    for _epoch in range(config.epochs):
        order = rng.permutation(count).tolist()
        for start in range(0, count, config.batch):
            yield order[start : start + config.batch]


@contextmanager
def _settled(torch: Any, config: HFConfig, seed: int) -> Iterator[None]:
    """torch's randomness from the seed and, where asked for, deterministic kernels; after it, as before."""
    is_cuda = config.device.startswith("cuda")
    if is_cuda and not torch.cuda.is_available():
        raise MalformedSettings(f'device {config.device}: torch sees no GPU here; take device "cpu"')
    # cuBLAS reads it when it first starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory
    with torch.random.fork_rng(devices=[torch.device(config.device)] if is_cuda else []):
        torch.manual_seed(seed % (1 << 63))
        torch.use_deterministic_algorithms(config.deterministic)
        # Filling every new tensor would find reads of memory that was never written, at the price of a write.
        torch.utils.deterministic.fill_uninitialized_memory = False
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before, warn_only=warned)
            torch.utils.deterministic.fill_uninitialized_memory = filled
