"""The worker: ``python -m aar.llm.worker``, where researchers that are models think, outside every sandbox.

It has the providers' keys, from its environment, and no key of the study's. What it says goes to standard
error, a line each, and never a traceback: what nobody thought of is one line too, and the supervisor starts
it again.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
from pathlib import Path

from aar.inside.gateway_client import GatewayLost
from aar.llm.brief import BriefError, read_template
from aar.llm.ending import ModelUnusable
from aar.llm.provider_keys import without_keys
from aar.llm.reach import OutOfReach, bring_within_reach
from aar.llm.seat import Seat
from aar.llm.worker_config import Place, WorkerConfig, WorkerConfigError, parse_worker_config
from aar.llm.worker_desk import WorkerDesk
from aar.outside.sandbox.client import LauncherClient
from aar.outside.sandbox.researcher import researcher_spec
from aar.outside.sandbox.runtime import package_root
from aar.outside.sandbox.session import Session
from aar.outside.sandbox.spec import SandboxError
from aar.outside.sandbox.terminal import terminal_safe
from aar.outside.service import enter

EXIT_CONFIG = 2
EXIT_PROVIDER = 7
EXIT_STUMBLED = 1
# The supervisor kills it after ten seconds; what is kept after each turn is all that has to be saved.
STOP_S = 8.0
HOME = "inspect"


def main() -> int:
    """Read the configuration, work until there is nothing to do, say how it ended."""
    try:
        config = parse_worker_config(sys.stdin.read())
        template = config.brief or read_template()
    except (WorkerConfigError, BriefError) as error:
        say(str(error))
        return EXIT_CONFIG
    try:
        _settle(config)
        return _work(config, template)
    except OutOfReach as error:
        say(str(error))
        return EXIT_CONFIG
    except (GatewayLost, SandboxError) as error:
        say(f"{type(error).__name__}: {error}")
    # The last line of defence: one line, and the supervisor starts another.
    except Exception as error:  # noqa: BLE001
        say(f"{type(error).__name__}: {error}")
    return EXIT_STUMBLED


def say(line: str) -> None:
    """One line on standard error, with nothing in it that is or looks like a key, or acts on a terminal."""
    sys.stderr.write("worker: " + terminal_safe(" ".join(without_keys(line).split()))[:600] + "\n")
    sys.stderr.flush()


def _settle(config: WorkerConfig) -> None:
    """Be who and where the worker is to be, before anything of a provider's is imported.

    Inspect reads settings and a file .env from where it stands, and writes below the user's home: all of that
    is the worker's own directory.
    """
    directory = Path(config.directory)
    own = directory / HOME
    own.mkdir(parents=True, exist_ok=True, mode=0o700)
    if config.uid and os.getuid() == 0:
        os.chown(own, config.uid, config.uid)
        needed = (sys.base_prefix, sys.prefix, str(package_root().parent), config.directory)
        bring_within_reach(map(Path, needed), config.uid)
    for variable in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "TMPDIR"):
        os.environ[variable] = str(own)
    for variable in [one for one in os.environ if one.startswith("INSPECT_")]:
        del os.environ[variable]
    os.environ["INSPECT_DISPLAY"] = "none"
    if config.lifeline_fd >= 0:
        enter(own, uid=config.uid, lifeline_fd=config.lifeline_fd)
    else:
        os.chdir(own)


def _work(config: WorkerConfig, template: str) -> int:
    try:
        from aar.llm.inspect_monitor import ModelMonitor
        from aar.llm.inspect_team import Team
    except ImportError as error:
        say(f"models are asked through Inspect AI, which is not installed ({error}): pip install 'aar[llm]'")
        return EXIT_CONFIG

    desk = WorkerDesk(config.worker_socket)
    seats = []
    if config.researchers:
        launcher = LauncherClient(socket.socket(fileno=config.launcher_fd))
        seats = [Seat(place, desk, lambda one: open_session(launcher, one)) for place in config.researchers]
    monitor = None
    if config.monitor:
        # A desk of its own: what stops the researchers' waiting does not stop what it has to tell.
        directory = Path(config.directory)
        own_desk = WorkerDesk(config.worker_socket)
        monitor = ModelMonitor(told=config.monitor, desk=own_desk, directory=directory, say=say)
    team = Team(config=config, seats=seats, template=template, say=say, monitor=monitor)

    async def work() -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        await team.run()

    def stop() -> None:
        say("it is asked to stop")
        team.stop()
        # A model that is being waited for is not waited for.
        timer = threading.Timer(STOP_S, os._exit, (0,))
        timer.daemon = True
        timer.start()

    try:
        asyncio.run(work())
    except ModelUnusable as error:
        say(str(error))
        return EXIT_PROVIDER
    for line in team.refused:
        say(f"{line}: mend it, and run the study again")
    return EXIT_PROVIDER if team.refused else 0


def open_session(launcher: LauncherClient, place: Place) -> Session:
    """A researcher's sandbox with a shell; raises `SandboxError`."""
    return Session.open(
        launcher,
        researcher_spec(
            name=place.name,
            argv=("-",),
            gateway_dir=place.gateway_dir,
            uid_slot=place.slot,
            has_shell=True,
            agent=place.agent,
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
