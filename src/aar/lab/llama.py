"""A small Llama read forwards in numpy: safetensors in, hidden states out, no torch.

RMSNorm, rotary positions, causal attention, SwiGLU, an embedding that is tied to the head (Touvron et al.
2023, arXiv:2302.13971), as Hugging Face's `LlamaForCausalLM` has them; for models that need no more.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from aar.lab.errors import MalformedWeights

Matrix = NDArray[np.float32]
Tokens = NDArray[np.int64]

_MAX_HEADER_BYTES = 1 << 20
_LENGTH_BYTES = 8


def read_safetensors(path: Path) -> dict[str, Matrix]:
    """The float32 tensors of a safetensors file by name; `MalformedWeights` for any other."""
    data = path.read_bytes()
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    body = _LENGTH_BYTES + length
    if length > _MAX_HEADER_BYTES or body > len(data):
        raise MalformedWeights(f"{path}: a header of {length} bytes in a file of {len(data)}")
    try:
        header = json.loads(data[_LENGTH_BYTES:body])
        return {
            str(name): _tensor(data, body, entry) for name, entry in header.items() if name != "__metadata__"
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MalformedWeights(f"{path}: not a safetensors file of float32: {error}") from error


def _tensor(data: bytes, body: int, entry: Mapping[str, object]) -> Matrix:
    start, end = cast("list[int]", entry["data_offsets"])
    if entry["dtype"] != "F32" or not 0 <= start <= end <= len(data) - body:
        raise ValueError(f"{entry['dtype']} at {start} to {end} of {len(data) - body}")
    flat = np.frombuffer(data[body + start : body + end], dtype="<f4")
    return flat.reshape(cast("list[int]", entry["shape"]))


@dataclass(frozen=True, slots=True)
class _Layer:
    """One block's weights; matrices are [out, in], as they are stored."""

    norm: Matrix
    query: Matrix
    key: Matrix
    value: Matrix
    output: Matrix
    mlp_norm: Matrix
    gate: Matrix
    up: Matrix
    down: Matrix


class Llama:
    """A Llama read from a directory as Hugging Face writes it: config.json and model.safetensors."""

    def __init__(self, directory: Path) -> None:
        try:
            config = json.loads((directory / "config.json").read_text())
            tensors = read_safetensors(directory / "model.safetensors")
            self._heads = int(config["num_attention_heads"])
            self._epsilon = float(config["rms_norm_eps"])
            self._theta = float(config["rope_theta"])
            layers = range(int(config["num_hidden_layers"]))
            self.embedding = tensors["model.embed_tokens.weight"]
            self._norm = tensors["model.norm.weight"]
            self._layers = [_layer(tensors, f"model.layers.{number}.") for number in layers]
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, MalformedWeights):
                raise
            raise MalformedWeights(f"{directory}: not a Llama's config.json and weights: {error}") from error

    def hidden(self, tokens: Tokens) -> Matrix:
        """Hidden states [n, length, width] after the last norm, for token ids [n, length], all in use."""
        state = self.embedding[tokens]
        turn = self._rotation(tokens.shape[1])
        for layer in self._layers:
            state = state + self._attention(layer, self._normed(state, layer.norm), turn)
            inner = self._normed(state, layer.mlp_norm)
            gate = inner @ layer.gate.T
            state = state + (gate / (1 + np.exp(-gate)) * (inner @ layer.up.T)) @ layer.down.T
        return self._normed(state, self._norm)

    def logits(self, hidden: Matrix) -> Matrix:
        """Scores of every token of the vocabulary, [..., width] to [..., vocabulary]."""
        scores: Matrix = hidden @ self.embedding.T
        return scores

    def _normed(self, state: Matrix, weight: Matrix) -> Matrix:
        size = np.sqrt(np.square(state).mean(axis=-1, keepdims=True) + np.float32(self._epsilon))
        normed: Matrix = (state / size * weight).astype(np.float32, copy=False)
        return normed

    def _rotation(self, length: int) -> tuple[Matrix, Matrix]:
        """Cosines and sines [length, head width] of the rotary positions."""
        width = self.embedding.shape[1] // self._heads
        pace = self._theta ** (-np.arange(0, width, 2) / width)
        angle = np.arange(length)[:, None] * np.concatenate([pace, pace])
        return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)

    def _attention(self, layer: _Layer, inner: Matrix, turn: tuple[Matrix, Matrix]) -> Matrix:
        count, length, width = inner.shape

        def by_head(matrix: Matrix) -> Matrix:
            return (inner @ matrix.T).reshape(count, length, self._heads, -1).transpose(0, 2, 1, 3)

        query, key = (_turned(by_head(matrix), turn) for matrix in (layer.query, layer.key))
        scores = query @ key.transpose(0, 1, 3, 2) / np.float32(math.sqrt(width / self._heads))
        scores[..., ~np.tri(length, dtype=bool)] = -np.inf
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        mixed = (shares @ by_head(layer.value)).transpose(0, 2, 1, 3).reshape(count, length, width)
        answer: Matrix = mixed @ layer.output.T
        return answer


def _layer(tensors: Mapping[str, Matrix], prefix: str) -> _Layer:
    names = (
        "input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
        "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
    )  # fmt: skip
    return _Layer(*(tensors[f"{prefix}{name}.weight"] for name in names))


def _turned(heads: Matrix, turn: tuple[Matrix, Matrix]) -> Matrix:
    """Rotary positions: the two halves of each head are a plane's coordinates."""
    half = heads.shape[-1] // 2
    turned = np.concatenate([-heads[..., half:], heads[..., :half]], axis=-1)
    rotated: Matrix = (heads * turn[0] + turned * turn[1]).astype(np.float32, copy=False)
    return rotated
