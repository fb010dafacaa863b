"""How agents that are programs of others are started in a sandbox: their words, environment and files.

Pure. The program speaks to a port on its own loopback, where the bridge answers (`aar.llm.inspect_bridge`):
there is no key to give it, and no network. What it would do for its vendor or for a person (report, update,
search the web, ask for permission) is off.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from aar.formats.kinds import AGENTS
from aar.outside.sandbox.spec import AGENT_FOLDER

PORT = 13131
# Of the study's tools, as an agent sees it: claude-code calls `mcp__study__declare_plan`.
SERVER = "study"
# What agents want for a key; theirs is checked by nobody.
NO_KEY = "none"
# A pause may be long, and an agent that asks again while it waits would be charged twice.
FOR_EVER_S = 2_000_000
# Its own state is not the researcher's work: it lies apart from what is kept.
STATE = "/tmp/agent"

TOOLS = f"""
## Your tools
The study's tools, finish_task among them, are those of the MCP server "{SERVER}"; your own run commands and
edit files in the sandbox. Nobody answers questions while you work. Call finish_task when you are done.
Of /workspace at most 500 files and 8 MiB outlive a sandbox that ends.
"""
ANEW = """
This conversation began anew: the last one was cut off. /workspace is as it was at its last turn; read your
notebook there first. Nothing else of that conversation is left, and programs that ran are gone.
"""


@dataclass(frozen=True, slots=True)
class Launch:
    """One start of a program: its words, what its environment has beside a sandbox's own, and its files."""

    argv: Sequence[str]
    env: Mapping[str, str]
    files: Mapping[str, bytes] = field(default_factory=dict)


def launch(agent: str, *, model: str, prompt: str, goes_on: bool) -> Launch:
    """Start an agent with a prompt, or with the next one of the conversation that it had last."""
    return _LAUNCHES[agent](model, prompt, goes_on)


def _claude_code(model: str, prompt: str, goes_on: bool) -> Launch:
    servers = {"mcpServers": {SERVER: {"type": "http", "url": f"http://localhost:{PORT}/mcp/{SERVER}"}}}
    argv = [
        f"{AGENT_FOLDER}/claude-code",
        *(["--continue"] if goes_on else []),
        *("--print", "--output-format", "text", "--model", model),
        # What it may do is what its sandbox may.
        "--dangerously-skip-permissions",
        *("--mcp-config", json.dumps(servers), "--strict-mcp-config"),
        *("--disallowed-tools", "WebSearch,WebFetch"),
        *("--", prompt),
    ]
    names = (
        "ANTHROPIC_DEFAULT_OPUS_MODEL",
        "ANTHROPIC_DEFAULT_SONNET_MODEL",
        "ANTHROPIC_DEFAULT_HAIKU_MODEL",
    )
    env = {
        "ANTHROPIC_BASE_URL": f"http://localhost:{PORT}",
        "ANTHROPIC_AUTH_TOKEN": NO_KEY,
        # One model for everything: the study's limits are that one's.
        **dict.fromkeys(("ANTHROPIC_MODEL", "CLAUDE_CODE_SUBAGENT_MODEL", *names), model),
        "API_TIMEOUT_MS": str(FOR_EVER_S * 1000),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_DISABLE_EXPERIMENTAL_BETAS": "1",
        "CLAUDE_CODE_DISABLE_AUTO_MEMORY": "1",
        "CLAUDE_CONFIG_DIR": STATE,
        "IS_SANDBOX": "1",
        # It would ask its model before it knows its tools, and hide them behind a search.
        "MCP_CONNECTION_NONBLOCKING": "false",
        "MCP_TIMEOUT": "300000",
        "MCP_TOOL_TIMEOUT": str(FOR_EVER_S * 1000),
        "ENABLE_TOOL_SEARCH": "false",
    }
    return Launch(argv, env)


def _codex(model: str, prompt: str, goes_on: bool) -> Launch:
    settings = f"""model = {json.dumps(model)}
model_provider = "{SERVER}"
web_search = "disabled"
check_for_update_on_startup = false
[analytics]
enabled = false
[model_providers.{SERVER}]
name = "{SERVER}"
base_url = "http://localhost:{PORT}/v1"
env_key = "OPENAI_API_KEY"
wire_api = "responses"
stream_idle_timeout_ms = {FOR_EVER_S * 1000}
[mcp_servers.{SERVER}]
url = "http://localhost:{PORT}/mcp/{SERVER}"
required = true
default_tools_approval_mode = "approve"
startup_timeout_sec = 300
tool_timeout_sec = {FOR_EVER_S}
"""
    argv = [
        *(f"{AGENT_FOLDER}/codex", "exec", "--color", "never", "--skip-git-repo-check"),
        # Its own sandbox would want namespaces, which ours does not give: ours is the wall.
        "--dangerously-bypass-approvals-and-sandbox",
        *(["resume", "--last"] if goes_on else []),
        # A brief may begin with what looks like an option.
        "--",
        prompt,
    ]
    env = {"CODEX_HOME": STATE, "OPENAI_API_KEY": NO_KEY, "RUST_LOG": "error"}
    return Launch(argv, env, {f"{STATE}/config.toml": settings.encode()})


_LAUNCHES: Mapping[str, Callable[[str, str, bool], Launch]] = dict(
    zip(AGENTS, (_claude_code, _codex), strict=True)
)
