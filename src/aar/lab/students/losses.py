"""The losses of fine-tuned students, on the two logits of their answer; named as the lab's blocks are.

Every loss is a function of the logits [n, 2] of `no` and `yes` and of soft targets [n], and gives one number
per item [n]; p is the student's P(yes) among the two, t the target.

| name | per item |
|---|---|
| `xent` | cross-entropy H(t, p) |
| `logconf` | H((1 - s c) t + s c 1[p > threshold], p) (Burns et al. 2023, auxiliary confidence loss) |
| `product` | H(q, p), q in proportion to p^(s beta) t^alpha (openai/weak-to-strong, product loss) |
| `reverse_kl` | KL(p || t) (Yao et al. 2025, arXiv:2502.11107) |
| `window` | H(t, p) where abs(p - 1/2) <= radius, else 0 (EleutherAI 2024, confidence window) |

s goes from 0 to 1 over the share `warmup` of the training. The threshold is the quantile of the batch's p at
1 - the mean target. What stands in a target is a constant: no gradient goes through it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from aar.lab.students.errors import MalformedSettings

# A torch.Tensor. torch is no dependency of the lab, so its types are none either.
Tensor: TypeAlias = Any

# A target this near to 0 or 1 has no logarithm of use.
LEAST_TARGET = 1e-4


class Span(NamedTuple):
    """The values that a parameter may take, and the one it has where nothing is said."""

    low: float
    high: float
    default: float


_WARMUP = Span(0, 1, 0.2)

LOSSES: Mapping[str, Mapping[str, Span]] = MappingProxyType(
    {
        "xent": {},
        "logconf": {"c": Span(0, 0.95, 0.5), "warmup": _WARMUP},
        "product": {"alpha": Span(0, 4, 1.0), "beta": Span(0, 4, 1.0), "warmup": _WARMUP},
        "reverse_kl": {},
        "window": {"radius": Span(0.01, 0.5, 0.3)},
    }
)


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss by name with all its parameters; `Loss.of` fills in the defaults."""

    name: str
    parameters: tuple[tuple[str, float], ...]

    @classmethod
    def of(cls, name: object, given: object = None) -> Loss:
        """The loss of that name; raises `MalformedSettings` for what it does not have."""
        spans = LOSSES.get(name) if isinstance(name, str) else None
        if spans is None or not isinstance(name, str):
            raise MalformedSettings(f"loss {name!r:.40}: want one of {', '.join(LOSSES)}")
        values = {} if given is None else given
        if not isinstance(values, Mapping) or not set(values) <= set(spans):
            raise MalformedSettings(
                f"{name}: got {given!r:.80}, want some of: {', '.join(spans) or 'nothing'}"
            )
        found = []
        for key, span in spans.items():
            value = values.get(key, span.default)
            # Written so that NaN is refused too.
            if (
                isinstance(value, bool)
                or not isinstance(value, (int, float))
                or not span.low <= value <= span.high
            ):
                raise MalformedSettings(
                    f"{name}.{key}: got {value!r:.40}, want a number from {span.low:g} to {span.high:g}"
                )
            found.append((key, float(value)))
        return cls(name, tuple(found))

    @property
    def needs_batch(self) -> bool:
        """Whether an item's loss depends on the other items of its batch."""
        return self.name == "logconf"

    def per_item(
        self, logits: Tensor, targets: Tensor, *, progress: float, threshold: Tensor | None = None
    ) -> Tensor:
        """Losses [n] at `progress` (0 to 1) of the training; `threshold` only where `needs_batch`."""
        values = dict(self.parameters)
        if self.name == "logconf":
            share = values["c"] * _warmed(progress, values["warmup"])
            return logconf(logits, targets, share=share, threshold=threshold)
        if self.name == "product":
            beta = values["beta"] * _warmed(progress, values["warmup"])
            return product(logits, targets, alpha=values["alpha"], beta=beta)
        if self.name == "window":
            return window(logits, targets, radius=values["radius"])
        return reverse_kl(logits, targets) if self.name == "reverse_kl" else xent(logits, targets)


def _warmed(progress: float, warmup: float) -> float:
    return min(progress / warmup, 1.0) if warmup > 0 else 1.0


def margin(logits: Tensor) -> Tensor:
    """The log-odds of `yes` against `no` [n], in 32 bits."""
    return logits[:, 1].float() - logits[:, 0].float()


def xent(logits: Tensor, targets: Tensor) -> Tensor:
    """H(t, p)."""
    from torch.nn.functional import softplus

    score = margin(logits)
    return softplus(score) - targets * score


def threshold_of(logits: Tensor, mean_target: Tensor | float) -> Tensor:
    """The quantile of p at 1 - the mean target."""
    own = margin(logits).detach().sigmoid()
    return own.quantile(1 - float(mean_target))


def logconf(logits: Tensor, targets: Tensor, *, share: float, threshold: Tensor | None) -> Tensor:
    """H((1 - share) t + share 1[p > threshold], p); no threshold: this batch's own."""
    if threshold is None:
        threshold = threshold_of(logits, targets.mean())
    hard = (margin(logits).detach().sigmoid() > threshold).float()
    return xent(logits, (1 - share) * targets + share * hard)


def product(logits: Tensor, targets: Tensor, *, alpha: float, beta: float) -> Tensor:
    """H(q, p) with the log-odds of q = beta times the student's plus alpha times the target's."""
    score = beta * margin(logits).detach() + alpha * _log_odds(targets)
    return xent(logits, score.sigmoid())


def reverse_kl(logits: Tensor, targets: Tensor) -> Tensor:
    """KL(p || t), with t kept `LEAST_TARGET` away from 0 and 1."""
    from torch.nn.functional import logsigmoid

    score = margin(logits)
    own = score.sigmoid()
    inside = targets.clamp(LEAST_TARGET, 1 - LEAST_TARGET)
    return own * (logsigmoid(score) - inside.log()) + (1 - own) * (logsigmoid(-score) - (1 - inside).log())


def window(logits: Tensor, targets: Tensor, *, radius: float) -> Tensor:
    """H(t, p) where the student is unsure, else 0."""
    own = margin(logits).detach().sigmoid()
    return xent(logits, targets) * ((own - 0.5).abs() <= radius).float()


def _log_odds(targets: Tensor) -> Tensor:
    inside = targets.clamp(LEAST_TARGET, 1 - LEAST_TARGET)
    return inside.log() - (1 - inside).log()
