"""Where a language model comes from: weights by name or path, or a configuration alone; never a pickle.

torch and transformers are imported by the functions that need them.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from aar.lab.students.errors import LibraryMissing, MalformedSettings, ModelUnavailable

# What a model needs of its repository. No weights as pickles (*.bin, *.pt): loading runs their code.
FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")

# The small transformer that the lab's own script pre-trains for the problem `claims`: 89,792 parameters.
SMALL: Mapping[str, Any] = MappingProxyType(
    {
        "model_type": "llama",
        "vocab_size": 118,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 64,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
)


def library(name: str) -> Any:
    """An optional library; raises `LibraryMissing` with what to install."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise LibraryMissing(
            f"{name} cannot be imported ({error}): fine-tuned students need torch, transformers and peft; "
            "install the extra hf, as docs/students.md says"
        ) from error


class Source(Protocol):
    """What a causal language model and its tokenizer are loaded from."""

    def identity(self) -> str:
        """A name that is another one when the weights are others."""

    def load(self, device: str, dtype: Any) -> Any:
        """The model, on the device, its parameters of that type."""

    def tokenizer(self) -> Any:
        """Its tokenizer; raises `ModelUnavailable` where it has none."""


@dataclass(frozen=True, slots=True)
class Pretrained:
    """A model by its name on huggingface.co, or by the path of a directory.

    A name is loaded at `revision` (a branch, a tag or, so that it stays the same, a commit), and fetched
    unless `local_files_only`. Raises `ModelUnavailable` where the files cannot be had.
    """

    name: str
    revision: str | None = None
    local_files_only: bool = False

    def directory(self) -> Path:
        """The directory with the files, fetched if need be."""
        path = Path(self.name)
        if path.is_dir():
            return path
        if self.name.startswith((".", "/", "~")) or self.name.count("/") > 1:
            raise ModelUnavailable(f"{self.name} is no directory: want one, or a name as OWNER/MODEL")
        hub = library("huggingface_hub")
        errors = library("huggingface_hub.errors")
        try:
            found = hub.snapshot_download(
                self.name,
                revision=self.revision,
                local_files_only=self.local_files_only,
                allow_patterns=list(FILES),
            )
        except (errors.HfHubHTTPError, errors.HFValidationError, OSError, ValueError) as error:
            raise ModelUnavailable(
                f"no weights of {self.name} at {self.revision or 'its main revision'} on this machine, and "
                f"none could be fetched ({type(error).__name__}). Where there is a network, run: "
                f"hf download {self.name} --local-dir DIR; then give the path DIR instead of the name"
            ) from error
        return Path(found)

    def identity(self) -> str:
        """The name and the commit, or for a directory the SHA-256 of its files."""
        directory = self.directory()
        if not Path(self.name).is_dir():
            return f"{self.name}@{directory.name}"
        total = hashlib.sha256()
        for path in sorted(path for pattern in FILES for path in directory.glob(pattern)):
            with path.open("rb") as file:
                total.update(f"{path.name}\n{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
        return f"sha256:{total.hexdigest()}"

    def load(self, device: str, dtype: Any) -> Any:
        """The model as `AutoModelForCausalLM` reads it, from safetensors alone, without code of its own."""
        transformers, broken = library("transformers"), library("safetensors").SafetensorError
        directory = self.directory()
        try:
            model = transformers.AutoModelForCausalLM.from_pretrained(
                directory,
                dtype=dtype,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
            )
        except (OSError, ValueError, broken) as error:
            raise ModelUnavailable(
                f"{directory} holds no causal language model as safetensors: {error}"
            ) from error
        return model.to(device)

    def tokenizer(self) -> Any:
        """The tokenizer beside the weights."""
        transformers = library("transformers")
        directory = self.directory()
        try:
            return transformers.AutoTokenizer.from_pretrained(
                directory, local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError) as error:
            raise ModelUnavailable(f"{directory} holds no tokenizer: {error}") from error


@dataclass(frozen=True, slots=True)
class Configured:
    """A model by its configuration: with random weights of a seed, or with those in a safetensors file.

    `text` is the configuration as JSON, with `model_type`. Such a model reads tokens; it has no tokenizer.
    """

    text: str
    seed: int = 0
    weights: Path | None = None

    @classmethod
    def of(cls, fields: Mapping[str, Any], *, seed: int = 0, weights: Path | None = None) -> Configured:
        """The source of a configuration given as a mapping."""
        return cls(json.dumps(dict(fields), sort_keys=True), seed, weights)

    def identity(self) -> str:
        """The SHA-256 of the configuration, the seed and the file."""
        file = "" if self.weights is None else hashlib.sha256(self.weights.read_bytes()).hexdigest()
        content = f"{self.text}\n{self.seed}\n{file}"
        return f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"

    def load(self, device: str, dtype: Any) -> Any:
        """The model, made on the device."""
        torch, transformers = library("torch"), library("transformers")
        fields = json.loads(self.text)
        config = transformers.AutoConfig.for_model(fields.pop("model_type"), **fields)
        cuda = [torch.device(device)] if device.startswith("cuda") else []
        with torch.random.fork_rng(devices=cuda), torch.device(device):
            torch.manual_seed(self.seed)
            model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype)
        if self.weights is not None:
            self._fill(model, self.weights)
        return model

    def _fill(self, model: Any, path: Path) -> None:
        broken = library("safetensors").SafetensorError
        try:
            weights = library("safetensors.torch").load_file(path)
            lacking, strange = model.load_state_dict(weights, strict=False)
        except (OSError, RuntimeError, ValueError, broken) as error:
            raise ModelUnavailable(f"{path} holds no weights for this configuration: {error}") from error
        # A head that is the embedding is filled with it.
        tied = {"lm_head.weight"} if model.config.tie_word_embeddings else set()
        missing = sorted(set(lacking) - tied)
        if strange or missing:
            raise ModelUnavailable(
                f"{path} is of another configuration: strange {strange!r:.200}, missing {missing!r:.200}"
            )

    def tokenizer(self) -> Any:
        """Raises `MalformedSettings`: there is none."""
        raise MalformedSettings("a configured model has no tokenizer: give its items as tokens, with Answers")
