"""Run the attacks that this directory holds: `python DIRECTORY < world.json`, outside and in a sandbox alike.

Prints {"probes": {name: [fired, detail]}, "own": {what a researcher needs: what is wrong with it}}.
"""

import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable
from typing import Any

# In the order in which they run: those that use up what there is come last.
_AREAS = ("files", "peers", "processes", "kernel", "network", "identity", "resources")


def load(name: str) -> Any:
    """One module of this directory under its full name: inside there is no package to import it from."""
    full = f"aar.outside.sandbox.probes.{name}"
    spec = importlib.util.spec_from_file_location(full, os.path.join(os.path.dirname(__file__), f"{name}.py"))
    if spec is None or spec.loader is None:
        raise ImportError(f"no {name} beside {__file__}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[full] = module
    spec.loader.exec_module(module)
    return module


def own_use(attempt: Any) -> dict[str, str]:
    """What a researcher does need: its gateway, numpy, files of its own. Empty text: that one works."""
    needs: dict[str, Callable[[], object]] = {
        "gateway": lambda: attempt.connects(1, "/run/gw/gw.sock"),
        "numpy": lambda: importlib.import_module("numpy"),
        "workspace": lambda: open("/workspace/own", "xb").close(),
    }
    troubles = {}
    for name, need in needs.items():
        try:
            need()
            troubles[name] = ""
        except attempt.REFUSALS as error:
            troubles[name] = f"{type(error).__name__}: {error}"
    return troubles


def main() -> None:
    """Try everything; an exception that is no refusal is a mistake in a probe and ends the script."""
    attempt = load("attempt")
    for name in _AREAS:
        load(name)
    world = json.load(sys.stdin)
    told = attempt.all_tried(world, {**attempt.PROBES, **attempt.CHANNELS})
    json.dump({"probes": told, "own": own_use(attempt) if world["mode"] == "within" else {}}, sys.stdout)


if __name__ == "__main__":
    main()
