"""The settings of a fine-tuned student: every number that changes what it learns, as one hashable value.

```json
{"adaptation":"lora","alpha":32,"batch":32,...,"loss":["xent",{}],...}
```
The defaults are those of the published weak-to-strong study (5 epochs, batches of 32, a learning rate of
1e-4 that falls linearly, LoRA of rank 32 and alpha 32, texts of up to 8,192 tokens).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import cos, pi
from types import MappingProxyType

from aar.lab.students.errors import MalformedSettings
from aar.lab.students.losses import Loss

ADAPTATIONS = ("lora", "full")
SCHEDULES = ("linear", "cosine", "constant")
PRECISIONS = ("auto", "fp32", "bf16")

# The published study's pair; any other causal language model may stand in their place, by name or by path.
PRESETS: Mapping[str, str] = MappingProxyType(
    {"weak": "Qwen/Qwen1.5-0.5B-Chat", "strong": "Qwen/Qwen3-4B-Base"}
)

_WHOLE_FROM_1 = ("rank", "alpha", "batch", "epochs", "max_tokens", "predict_batch")
_WHOLE_FROM_0 = ("micro_batch", "seed")
_REAL_FROM_0 = ("learning_rate", "weight_decay", "warmup", "max_gradient_norm")
_FLAGS = ("gradient_checkpointing", "deterministic")
_WORDS = {"adaptation": ADAPTATIONS, "schedule": SCHEDULES, "precision": PRECISIONS}
_LARGEST = 1 << 53


@dataclass(frozen=True, slots=True, kw_only=True)
class HFConfig:
    """Settings of one fine-tuning; raises `MalformedSettings` for what cannot be.

    `device` is torch's name of it; there is no default that looks for one, so that the same settings mean the
    same run. `precision` auto is bf16 on cuda and fp32 elsewhere; under bf16 the trained weights stay fp32.
    `rank` and `alpha` are LoRA's, on every linear layer but the head. `micro_batch` items go through the
    model at once (0: the whole batch), which changes the memory and not the loss. `warmup` is the share of
    the steps in which the learning rate rises. Gradients are cut to `max_gradient_norm` (0: never). Of a text
    longer than `max_tokens` the end of its body is left out.
    """

    device: str
    loss: Loss = dataclasses.field(default_factory=lambda: Loss.of("xent"))
    adaptation: str = "lora"
    rank: int = 32
    alpha: int = 32
    learning_rate: float = 1e-4
    schedule: str = "linear"
    warmup: float = 0.0
    weight_decay: float = 0.0
    max_gradient_norm: float = 1.0
    batch: int = 32
    micro_batch: int = 0
    epochs: int = 5
    max_tokens: int = 8192
    predict_batch: int = 32
    precision: str = "auto"
    gradient_checkpointing: bool = False
    deterministic: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for name in (*_WHOLE_FROM_1, *_WHOLE_FROM_0):
            value, least = getattr(self, name), int(name in _WHOLE_FROM_1)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _LARGEST:
                raise MalformedSettings(f"{name} {value!r:.40}: want a whole number from {least}")
        for name in _REAL_FROM_0:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < _LARGEST:
                raise MalformedSettings(f"{name} {value!r:.40}: want a number from 0")
            # One spelling of a number: 1 and 1.0 are the same settings.
            object.__setattr__(self, name, float(value))
        for name in _FLAGS:
            if not isinstance(getattr(self, name), bool):
                raise MalformedSettings(f"{name} {getattr(self, name)!r:.40}: want true or false")
        for name, words in _WORDS.items():
            if getattr(self, name) not in words:
                raise MalformedSettings(f"{name} {getattr(self, name)!r:.40}: want one of {', '.join(words)}")
        given: dict[str, object] = {"device": self.device, "loss": self.loss}
        if not isinstance(given["device"], str) or not self.device:
            raise MalformedSettings(
                f'device {self.device!r:.40}: want a name as torch has it, "cpu" or "cuda"'
            )
        if not isinstance(given["loss"], Loss):
            raise MalformedSettings(f"loss {self.loss!r:.40}: want Loss.of(NAME)")
        if not 0 < self.learning_rate <= 1 or self.warmup > 1:
            raise MalformedSettings(
                f"learning_rate {self.learning_rate}, warmup {self.warmup}: want above 0 to 1, and 0 to 1"
            )

    @property
    def is_bf16(self) -> bool:
        """Whether the model computes in bf16."""
        return self.precision == "bf16" or (self.precision == "auto" and self.device.startswith("cuda"))

    @property
    def digest(self) -> str:
        """The settings' identity: SHA-256 of their text, in hex."""
        return hashlib.sha256(format_config(self).encode()).hexdigest()

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of a step, 0 to steps - 1."""
        rising = round(self.warmup * steps)
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        done = (step - rising) / max(steps - rising, 1)
        if self.schedule == "linear":
            return self.learning_rate * (1 - done)
        if self.schedule == "cosine":
            return self.learning_rate * 0.5 * (1 + cos(pi * done))
        return self.learning_rate


def format_config(config: HFConfig) -> str:
    """The one JSON text of settings, every field written out, keys in order."""
    fields = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    fields["loss"] = [config.loss.name, dict(config.loss.parameters)]
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def parse_config(text: str) -> HFConfig:
    """Settings from their JSON text; what is left out has its default, `device` may not be."""
    try:
        value = json.loads(text, object_pairs_hook=_once)
    except MalformedSettings:
        raise
    except (ValueError, RecursionError) as error:
        raise MalformedSettings(f"{text!r:.80} is not JSON: {error}") from error
    known = {field.name for field in dataclasses.fields(HFConfig)}
    if not isinstance(value, dict) or not set(value) <= known or "device" not in value:
        raise MalformedSettings(f"{text!r:.80}: want an object with device and some of: {', '.join(known)}")
    if "loss" in value:
        loss = value["loss"]
        if not isinstance(loss, list) or len(loss) != 2:
            raise MalformedSettings(f"loss {loss!r:.80}: want [NAME, {{PARAMETERS}}]")
        value["loss"] = Loss.of(*loss)
    return HFConfig(**value)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(dict(pairs)) != len(pairs):
        raise MalformedSettings(f"a field stands twice in {[key for key, _value in pairs]!r:.80}")
    return dict(pairs)
