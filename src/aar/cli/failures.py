"""Failures: every foreseen error becomes one clear line and an exit status; the rest travels."""

from __future__ import annotations

import argparse
import errno
import os
from collections.abc import Callable

from aar.cli.main import EXIT_BAD_INPUT, EXIT_CUT_OFF, EXIT_FAULT, EXIT_INTERRUPTED
from aar.cli.output import complain, leave_output


class CommandFailed(Exception):
    """A command cannot do what was asked; the message is one line, `status` the exit status."""

    def __init__(self, message: str, status: int = EXIT_BAD_INPUT) -> None:
        super().__init__(message)
        self.status = status


def run_reporting_failures(command: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Run a command; foreseen errors are told in one line."""
    try:
        return command(options)
    except CommandFailed as error:
        complain(str(error))
        return error.status
    except BrokenPipeError:
        # The reader of our output has left (`| head`): there is nobody to tell.
        leave_output()
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        complain("stopped")
        return EXIT_INTERRUPTED
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            complain(
                f"the disk is full ({error}); free some space and say it again, nothing acknowledged is lost"
            )
            return EXIT_BAD_INPUT
        complain(str(error))
        return EXIT_BAD_INPUT
    except Exception as error:
        if isinstance(error.__cause__, KeyboardInterrupt):
            # Ctrl-C while a class was made: Python says that something was wrong with the class.
            complain("stopped")
            return EXIT_INTERRUPTED
        # What nobody foresaw is told as a fault of ours: an exit status of 1 would be a verdict.
        told = _told(error)
        if told is None:
            if os.environ.get("AAR_TRACEBACK"):
                raise
            fault = f"a fault of aar itself: {type(error).__name__}: {error!s:.300}"
            told = f"{fault}; AAR_TRACEBACK=1 shows where; nothing acknowledged is lost", EXIT_FAULT
        complain(told[0])
        return told[1]


def _told(error: Exception) -> tuple[str, int] | None:
    """The line and status of an error of a deeper layer, imported only when something went wrong."""
    from aar.formats.errors import FormatError
    from aar.outside.admission import Refused
    from aar.outside.control_plane import ServiceEnded
    from aar.outside.staff_client import GatewayGone, GatewayRefused
    from aar.outside.study_data import DataUnusable
    from aar.outside.study_directory import NotAStudy, StudyInUse
    from aar.outside.study_file import StudyFileError
    from aar.outside.worker_process import WorkerRefused
    from aar.verify.reader import NotARecord

    if isinstance(error, ServiceEnded):
        if error.is_refusal:
            return str(error), EXIT_BAD_INPUT
        if error.is_disk_full:
            return (
                f"{error}; ./aar run --dir goes on when there is space, nothing acknowledged is lost",
                EXIT_BAD_INPUT,
            )
        return f"{error}; ./aar run --dir goes on where the record says", EXIT_CUT_OFF
    if isinstance(error, WorkerRefused):
        return f"{error}; then ./aar run --dir goes on", EXIT_BAD_INPUT
    if isinstance(error, GatewayGone):
        return f"{error}; ./aar run --dir goes on where the record says", EXIT_CUT_OFF
    if isinstance(error, FormatError):
        return f"this cannot be an entry of the record: {error}", EXIT_BAD_INPUT
    refusals = (Refused, GatewayRefused, NotAStudy, StudyInUse, StudyFileError, DataUnusable, NotARecord)
    if isinstance(error, refusals):
        return str(error), EXIT_BAD_INPUT
    return None
