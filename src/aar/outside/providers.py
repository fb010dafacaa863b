"""Providers of models: which variables of the environment are a provider's, and which of them is its key.

A model is named as Inspect AI names it, ``PROVIDER/NAME``; a variable of another provider stays where it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

# Where the variables do not begin with the provider's name.
_PREFIXES = {
    "azureai": ("AZUREAI_", "AZURE_"),
    "bedrock": ("AWS_",),
    "cf": ("CLOUDFLARE_",),
    "grok": ("GROK_", "XAI_"),
    "sagemaker": ("AWS_",),
    "vertex": ("GOOGLE_", "ANTHROPIC_VERTEX_"),
}
# Any one of these is a key, where it is not NAME_API_KEY.
_KEYS = {
    "anthropic": ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
    "cf": ("CLOUDFLARE_API_TOKEN",),
    "grok": ("XAI_API_KEY", "GROK_API_KEY"),
    "google": ("GOOGLE_API_KEY",),
}
# Models on this machine, or keys of another kind than one variable.
_WITHOUT_KEY = (
    "bedrock",
    "hf",
    "llama-cpp-python",
    "mockllm",
    "ollama",
    "sagemaker",
    "sglang",
    "vertex",
    "vllm",
)
# How any of them reaches the network.
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
NETWORK = (*_PROXIES, *(name.lower() for name in _PROXIES), *_CERTIFICATES)
MODEL = re.compile("[a-z0-9][a-z0-9-]*(/[A-Za-z0-9][A-Za-z0-9_.:@-]*)+", re.ASCII)


def provider_of(model: str) -> str:
    """Who is asked for a model: the first part of its name, or the second where the first is a detour.

    >>> provider_of("anthropic/claude-sonnet-4-5"), provider_of("openai-api/deepseek/deepseek-chat")
    ('anthropic', 'deepseek')
    """
    first, second, *_rest = [*model.split("/"), ""]
    is_detour = first == "openai-api" or second in ("bedrock", "vertex", "azure")
    return {"azure": "azureai"}.get(second, second) if is_detour else first


def missing_key(model: str, environment: Mapping[str, str]) -> str:
    """The variable that has to be set before that model can be asked; "" when nothing is missing."""
    provider = provider_of(model)
    if provider in _WITHOUT_KEY:
        return ""
    keys = _KEYS.get(provider, (f"{_as_variable(provider)}API_KEY",))
    return "" if any(environment.get(one) for one in keys) else keys[0]


def environment_for(models: Iterable[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Of an environment, what whoever asks these models needs: their providers' and the network's."""
    prefixes = {"INSPECT_"}
    for model in models:
        provider = provider_of(model)
        prefixes.update(_PREFIXES.get(provider, (_as_variable(provider),)))
        if model.startswith("openai-api/"):
            prefixes.add("OPENAI_API_")
    return {
        name: value
        for name, value in environment.items()
        if name in NETWORK or name.startswith(tuple(prefixes))
    }


def _as_variable(provider: str) -> str:
    return provider.upper().replace("-", "_") + "_"
