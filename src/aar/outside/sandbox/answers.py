"""What a sandbox's answers do to whoever collects them, and to the terminal of whoever reads them."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

from aar.outside.sandbox.argv import sandbox_python
from aar.outside.sandbox.client import LauncherClient, Output, Running
from aar.outside.sandbox.plants import SLOT
from aar.outside.sandbox.probes.answers import SEQUENCES
from aar.outside.sandbox.researcher import researcher_spec
from aar.outside.sandbox.spec import SandboxSpec
from aar.outside.sandbox.terminal import terminal_safe

Findings = dict[str, tuple[bool, str]]

_SCRIPT = Path(__file__).parent / "probes" / "answers.py"
_INPUT = bytes(1 << 18)
_CAP_BYTES = 1 << 16
_ATTACKS = ("flood", "tell")
_KILLED_ITSELF = ("exited", 128 + 9)
_PATIENCE_S = 0.05
_RUN_S = 60.0
# Of these, a terminal is left with none; what is shown instead is plain.
_ACTS = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
_MAX_MARKS = 8


def lazily_collected(folder: Path) -> Findings:
    """Without a sandbox: run the same attacks as a lazy collector would, and see each of them work."""
    words = [sys.executable, "-I", "-S", str(_SCRIPT)]
    name = f"lazy-{folder.name}"
    flood = subprocess.run([*words, "flood"], capture_output=True, timeout=_RUN_S, check=False)
    found = {
        "flood-output": (len(flood.stdout) > _CAP_BYTES, f"{len(flood.stdout)} bytes taken"),
        "flood-errors": (len(flood.stderr) > _CAP_BYTES, f"{len(flood.stderr)} bytes taken"),
    }
    return found | _lazily_told([*words, "tell", name], folder, name)


def _lazily_told(words: list[str], folder: Path, name: str) -> Findings:
    inputs, status, errors = os.pipe(), os.pipe(), os.pipe()
    os.set_blocking(inputs[1], False)
    with open(folder / "transcript", "w+b") as transcript:
        with subprocess.Popen(
            words, stdin=inputs[0], stdout=transcript, stderr=errors[1], cwd=folder, pass_fds=[status[1]]
        ) as process:
            taken = os.write(inputs[1], _INPUT)
            code = process.wait(_RUN_S)
        os.close(errors[1])
        is_open = not select.select([errors[0]], [], [], _PATIENCE_S)[0]
        transcript.seek(0)
        told = transcript.read()
    is_forged = bool(select.select([status[0]], [], [], 0)[0])
    for descriptor in (*inputs, *status, errors[0]):
        os.close(descriptor)
    return {
        "hold-output-open": (is_open, "the stream goes on"),
        "imitate-a-kill": (code == -9, f"status {code}"),
        "rewrite-transcript": (b"confession" not in told, "the beginning is gone"),
        "forge-exit-status": (is_forged, "a status arrived"),
        "leave-files": (os.path.lexists(folder / f"link-{name}"), str(folder)),
        "stop-the-writer": (taken < len(_INPUT), f"{taken} of {len(_INPUT)} bytes taken"),
        **shown_sequences(told, lambda text: text),
    }


class Answering:
    """The same attacks from sandboxes, collected as those of researchers and official runs are."""

    def __init__(self, client: LauncherClient, gateway: str, name: str) -> None:
        self._name = name
        self._running: dict[str, Running] = {}
        with contextlib.ExitStack() as stack:
            for attack in _ATTACKS:
                running = client.start(_spec(attack, gateway, name), stdin=_INPUT)
                self._running[attack] = stack.enter_context(running)
            self._stack = stack.pop_all()

    def collect(self, folder: Path) -> Findings:
        """Judge what arrived, and what a person would see of it."""
        with self._stack:
            got = {attack: self._collected(attack) for attack in _ATTACKS}
        flood, told = (got[attack] for attack in _ATTACKS)
        left = _found_below(self._name, folder)
        ended = (told.exit.reason, told.exit.code)
        return {
            "flood-output": (len(flood.stdout) > _CAP_BYTES, f"{len(flood.stdout)} bytes, then ended"),
            "flood-errors": (len(flood.stderr) > _CAP_BYTES, f"{len(flood.stderr)} bytes, then ended"),
            # `collect` came back, with a reader that waits for both streams to end.
            "hold-output-open": (not told.stdout, f"ended after {told.exit.wall_s:.2f} s"),
            "imitate-a-kill": (ended != _KILLED_ITSELF, f"{ended[0]} with status {ended[1]}"),
            "rewrite-transcript": (b"confession" not in told.stdout, "all of it arrived"),
            "forge-exit-status": (ended != _KILLED_ITSELF, f"{ended[0]} with status {ended[1]}"),
            "leave-files": (bool(left), left or "nothing is left outside"),
            # Its start came back, with all the input handed over.
            "stop-the-writer": (not told.stdout, "nobody waits to write"),
            **shown_sequences(told.stdout, terminal_safe),
        }

    def _collected(self, attack: str) -> Output:
        return self._running[attack].collect(
            stdout_bytes=_CAP_BYTES, stderr_bytes=_CAP_BYTES, timeout_s=_RUN_S + 5
        )


def _spec(attack: str, gateway: str, name: str) -> SandboxSpec:
    return researcher_spec(
        name=f"doctor-{attack}",
        argv=(*sandbox_python(), "/brief/answers.py", attack, name),
        files={"/brief/answers.py": _SCRIPT.read_bytes()},
        gateway_dir=gateway,
        uid_slot=SLOT,
        cpu_s=20,
        wall_s=_RUN_S,
    )


def _found_below(name: str, folder: Path) -> str:
    for place in (folder, Path("/tmp"), Path("/dev/shm"), Path("/workspace"), Path.cwd(), Path("/")):
        for kind in ("link", "fifo", "sparse"):
            if os.path.lexists(place / f"{kind}-{name}"):
                return f"{place}/{kind}-{name}"
    return ""


def shown_sequences(told: bytes, shown: Callable[[str], str]) -> Findings:
    """For each control sequence in a sandbox's output, whether it still acts once shown."""
    parts = dict(part.split(":", 1) for part in told.decode(errors="replace").split("\0")[1:] if ":" in part)
    found = {}
    for name in SEQUENCES:
        if name not in parts:
            # What did not arrive proves nothing, and must not pass for stopped.
            found[name] = True, "it did not arrive"
            continue
        text = shown(parts[name])
        found[name] = acts_on_terminal(text), ascii(text)[:60]
    return found


def acts_on_terminal(text: str) -> bool:
    """Whether a terminal would do more than show this as one line.

    >>> acts_on_terminal("a plain line"), acts_on_terminal("two" + chr(10) + "lines")
    (False, True)
    """
    marks = 0
    for character in text:
        category = unicodedata.category(character)
        if category in _ACTS:
            return True
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if marks > _MAX_MARKS:
            return True
    return False
