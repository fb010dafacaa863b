"""Prices of models, and which variables of an environment are a provider's."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from aar.formats.kinds import PRICE
from aar.outside.prices import parse_prices, price_of, read_prices
from aar.outside.providers import environment_for, missing_key, provider_of
from aar.outside.study_file import StudyFileError

OWN = '["test/one"]\ninput = 1\noutput = 2.5\ncache_read = "0.125"\ncache_write = "1.00"\n'
TOLD = {"input": "1.00", "output": "2.50", "cache_read": "0.125", "cache_write": "1.00"}


def test_the_shipped_prices_are_prices() -> None:
    prices = read_prices("")
    assert "anthropic/claude-sonnet-4-5" in prices
    for price in prices.values():
        for amount in price.values():
            PRICE("price", amount)
            assert float(price["cache_read"]) <= float(price["input"]) <= float(price["output"])


def test_prices_of_the_user_s_own_go_before_the_shipped_ones(tmp_path: Path) -> None:
    own = tmp_path / "prices.toml"
    own.write_text(OWN + OWN.replace("test/one", "openai/gpt-5"))
    prices = read_prices(str(own))
    assert prices["test/one"] == prices["openai/gpt-5"] == TOLD
    assert prices["anthropic/claude-haiku-4-5"]["input"] == "1.00"


@pytest.mark.parametrize("name", ["anthropic/claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4-5"])
def test_a_version_has_the_price_of_its_model(name: str) -> None:
    assert price_of(name, read_prices(""))["input"] == "3.00"


def test_a_version_s_own_price_goes_first() -> None:
    prices = {"a/b": {"input": "1.00"}, "a/b-20250101": {"input": "2.00"}}
    assert price_of("a/b-20250101", prices)["input"] == "2.00"


@pytest.mark.parametrize("name", ["anthropic/claude-sonet-4-5", "anthropic/claude-sonnet-4-5-20250929-x"])
def test_an_unknown_price_is_said_with_what_was_perhaps_meant(name: str) -> None:
    with pytest.raises(StudyFileError, match="is it anthropic/claude-sonnet-4-5 or .* --prices"):
        price_of(name, read_prices(""))
    with pytest.raises(StudyFileError, match="cannot be limited; put its input, output"):
        price_of("acme/thinker", read_prices(""))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nonsense", "not TOML"),
        ('["a/b"]\ninput = 1', "got input, want a table of exactly input, output, cache_read, cache_write"),
        ("a = 1", "got 1, want a table"),
        (OWN.replace("2.5", "-2.5"), "want dollars such as"),
        (OWN.replace("2.5", "0.00001"), "want dollars"),
        (OWN.replace("2.5", "nan"), "want dollars such as"),
    ],
)
def test_what_is_wrong_with_a_table_of_prices_is_said(text: str, says: str) -> None:
    with pytest.raises(StudyFileError, match=says):
        parse_prices(text, source="prices.toml")


def test_prices_that_cannot_be_read_are_said(tmp_path: Path) -> None:
    with pytest.raises(StudyFileError, match="cannot be read: No such file"):
        read_prices(str(tmp_path / "absent.toml"))
    (tmp_path / "odd.toml").write_bytes(b"\xff")
    with pytest.raises(StudyFileError, match="cannot be read: 'utf-8'"):
        read_prices(str(tmp_path / "odd.toml"))


def test_the_shipped_prices_go_with_the_package() -> None:
    assert resources.files("aar.outside").joinpath("prices.toml").is_file()


@pytest.mark.parametrize(
    ("model", "provider", "key"),
    [
        ("anthropic/claude-sonnet-4-5", "anthropic", "ANTHROPIC_API_KEY"),
        ("openai/gpt-5", "openai", "OPENAI_API_KEY"),
        ("openai-api/deep-seek/chat", "deep-seek", "DEEP_SEEK_API_KEY"),
        ("anthropic/bedrock/claude", "bedrock", ""),
        ("openai/azure/gpt-5", "azureai", "AZUREAI_API_KEY"),
        ("grok/grok-4", "grok", "XAI_API_KEY"),
        ("ollama/llama", "ollama", ""),
    ],
)
def test_a_provider_has_a_key_in_a_variable_of_its_name(model: str, provider: str, key: str) -> None:
    assert provider_of(model) == provider
    assert missing_key(model, {}) == key
    assert not key or missing_key(model, {key: ""}) == key
    assert missing_key(model, {key: "sk-1"}) == ""


def test_whoever_asks_a_model_gets_its_provider_s_variables_and_no_other_s() -> None:
    told = {
        "ANTHROPIC_API_KEY": "a",
        "ANTHROPIC_BASE_URL": "b",
        "OPENAI_API_KEY": "c",
        "AWS_SECRET_ACCESS_KEY": "d",
        "https_proxy": "e",
        "SOMETHING_API_KEY": "f",
        "PATH": "/bin",
    }
    assert set(environment_for(["anthropic/x"], told)) == {
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_BASE_URL",
        "https_proxy",
    }
    assert "AWS_SECRET_ACCESS_KEY" in environment_for(["bedrock/x"], told)
