"""Studies of researchers that are models: their files, both providers, what is asked of a finished one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from llm.fake_model import CANARY_KEY, Account, FakeModel
from small_study import Commands

CLAUDE = "anthropic/claude-sonnet-4-5"
OTHER = "openai-api/local/test-model"
# A command-line agent of ours, started as Claude Code is.
STAND_IN = Path(__file__).with_name("stand_in_agent.py")
PRICES = {
    CLAUDE: {"input": "3.00", "output": "15.00", "cache_read": "0.30", "cache_write": "3.75"},
    OTHER: {"input": "1.25", "output": "2.00", "cache_read": "0.10", "cache_write": "1.25"},
}


def study_text(
    researchers: Sequence[str],
    *,
    tasks: int,
    fresh: bool = False,
    agents: Mapping[str, Path] | None = None,
    monitor: str = "",
) -> str:
    """A study of free tasks with these researchers, each the lines of its table; `agents` are programs, and
    `monitor` the lines of its table.
    """
    lines = [
        *('[study]\nname = "models"\nproblem = "digits"', f"researchers = {len(researchers)}"),
        "minutes = 5\nseeds = 2\nreplicates = 1\ndraws = 20",
    ]
    lines += [f"\n[[researcher]]\n{table}" for table in researchers]
    lines.append('\n[llm]\nprices = "prices.toml"')
    lines += ["fresh = true"] if fresh else []
    lines += ["\n[llm.agents]", *(f'{name} = "{path}"' for name, path in agents.items())] if agents else []
    lines += [f"\n[monitor]\n{monitor}"] if monitor else []
    for number in range(1, tasks + 1):
        lines.append(
            f'\n[[task]]\ntask = "t{number}"\ntitle = "Neighbours {number}"\nworkflow = "free"\n'
            'direction = "neighbourhood"\nsubmissions = 2'
        )
    return "\n".join(lines) + "\n"


def stand_in(directory: Path) -> dict[str, Path]:
    """A copy of the stand-in that everybody may run, whatever a checkout made of its mode."""
    path = directory / "stand-in"
    path.write_bytes(STAND_IN.read_bytes())
    path.chmod(0o755)
    return {"claude-code": path}


def prepare(commands: Commands, claude: FakeModel, other: FakeModel) -> None:
    """Prices, and the environment that names both providers, each with the canary for a key."""
    tables = (
        f'["{model}"]\n' + "".join(f'{key} = "{value}"\n' for key, value in prices.items())
        for model, prices in PRICES.items()
    )
    (commands.directory / "prices.toml").write_text("\n".join(tables), "utf-8")
    commands.environment |= {
        "ANTHROPIC_API_KEY": CANARY_KEY,
        "ANTHROPIC_BASE_URL": claude.url,
        "LOCAL_API_KEY": CANARY_KEY,
        "LOCAL_BASE_URL": f"{other.url}/v1",
    }


@dataclass(frozen=True)
class Spent:
    """What the record says that a researcher used."""

    calls: int
    tokens: dict[str, int]
    dollars: Fraction
    limits: tuple[str, ...]
    transcripts: dict[str, str]


class ModelStudy:
    """A finished study, read through the command line."""

    def __init__(self, commands: Commands, path: Path, printed: str, *, said: str = "") -> None:
        self.commands = commands
        self.path = path
        self.printed = printed
        self.said = said
        self._entries: list[dict[str, Any]] = []

    @property
    def entries(self) -> list[dict[str, Any]]:
        if not self._entries:
            self._entries = self.commands.entries(str(self.path))
        return self._entries

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [one for one in self.entries if one["kind"] == kind]

    def by(self, researcher: str, kind: str) -> list[dict[str, Any]]:
        """Bodies of a kind that are by or about a researcher."""
        return [
            one["body"]
            for one in self.of(kind)
            if researcher in (one["author"], one["body"].get("researcher"))
        ]

    def spent(self, researcher: str) -> Spent:
        charges = [one for one in self.by(researcher, "budget-charged") if one["what"] == "tokens"]
        usages = [one["usage"] for one in charges]
        return Spent(
            calls=sum(one["calls"] for one in usages),
            tokens={key: sum(one[key] for one in usages) for key in PRICES[CLAUDE]},
            dollars=sum((Fraction(one["dollars"]) for one in usages), Fraction()),
            limits=tuple(one["limit"] for one in usages if one["limit"]),
            transcripts={kept["name"]: kept["sha256"] for one in usages for kept in one["transcripts"]},
        )

    def trace(self, researcher: str) -> dict[str, Any]:
        done = self.commands.run("trace", str(self.path), researcher, "--json")
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def worker_log(self) -> str:
        return (self.path / "log" / "worker.log").read_text("utf-8")


def dollars_of(account: Account, model: str) -> Fraction:
    """What a provider's own count comes to, at the prices of this file."""
    prices = {key: Fraction(value) for key, value in PRICES[model].items()}
    return sum((getattr(account, key) * price for key, price in prices.items()), Fraction()) / 1_000_000
