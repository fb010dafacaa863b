"""`aar sandbox exec`: one command in a researcher's sandbox, for whoever wants to attack it."""

from __future__ import annotations

import argparse
import codecs
import contextlib
import os
import selectors
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

from aar.cli.failures import CommandFailed
from aar.cli.main import EXIT_NO_BACKEND, EXIT_SANDBOX_ENDED
from aar.cli.output import complain, pass_on
from aar.cli.safe_text import terminal_safe
from aar.outside.sandbox.choice import missing_backend
from aar.outside.sandbox.client import Launcher, LauncherClient, Running
from aar.outside.sandbox.interface import BARE
from aar.outside.sandbox.researcher import listen_as_gateway, researcher_spec
from aar.outside.sandbox.spec import SandboxError

# Apart from the slots of a study's researchers and of the doctor.
_SLOT = 9_998
_CHUNK = 65_536


def sandbox(options: argparse.Namespace) -> int:
    """Run the command to its end; its exit status, or `EXIT_SANDBOX_ENDED` when it has none of its own.

    It gets what a researcher gets, a gateway that never answers included. Streams pass through pipes, as they
    do for a researcher: a descriptor of ours would be a way to our file or terminal.
    """
    missing = missing_backend(options.backend)
    if missing is not None:
        raise CommandFailed(f"no sandbox: {missing}", EXIT_NO_BACKEND)
    if options.backend == BARE:
        complain("NO ISOLATION: the command runs as a plain process with your rights (--backend bare)")
    with contextlib.ExitStack() as stack:
        base = Path(tempfile.mkdtemp(prefix="aar-"))
        stack.callback(shutil.rmtree, base)
        # The sandbox's uid walks to its gateway by a bind of its own; nobody else has to.
        stack.enter_context(listen_as_gateway(base / "gw", _SLOT))
        try:
            launcher = stack.enter_context(Launcher.spawn({"researcher"}, backend=options.backend))
            running = stack.enter_context(
                LauncherClient(launcher.sockets[0]).start(
                    researcher_spec(
                        name="exec",
                        argv=options.words,
                        gateway_dir=str(base / "gw"),
                        uid_slot=_SLOT,
                        has_shell=options.shell,
                    )
                )
            )
        except SandboxError as error:
            raise CommandFailed(f"no sandbox: {error}", EXIT_NO_BACKEND) from error
        _relay(running)
        ended = running.wait()
    if ended.reason == "exited":
        return ended.code
    complain(f"the sandbox ended: {ended.reason}{': ' if ended.detail else ''}{terminal_safe(ended.detail)}")
    return EXIT_SANDBOX_ENDED


def _relay(running: Running) -> None:
    """Pass input in until it ends, and output out until both streams end."""
    if running.stdin is not None:
        # A read of our input cannot be cut short, so the thread is left to end with the process.
        threading.Thread(target=_feed, args=(running.stdin,), daemon=True).start()
    targets = {
        running.stdout.fileno(): _showing(sys.stdout.fileno()),
        running.stderr.fileno(): _showing(sys.stderr.fileno()),
    }
    with selectors.DefaultSelector() as selector:
        for descriptor in targets:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                chunk = os.read(key.fd, _CHUNK)
                targets[key.fd](chunk)
                if not chunk:
                    selector.unregister(key.fd)


def _feed(stream: IO[bytes]) -> None:
    with contextlib.suppress(OSError, ValueError):  # it ended, or we have no input
        while chunk := os.read(0, _CHUNK):
            stream.write(chunk)
            stream.flush()
    with contextlib.suppress(OSError, ValueError):
        stream.close()


def _showing(descriptor: int) -> Callable[[bytes], None]:
    """How chunks go out there: as they are, and to a terminal with all that would act on it written out."""
    if not os.isatty(descriptor):
        return lambda chunk: pass_on(descriptor, chunk)
    decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def show(chunk: bytes) -> None:
        lines = decoder.decode(chunk, final=not chunk).split("\n")
        pass_on(descriptor, "\n".join(terminal_safe(line) for line in lines).encode())

    return show
