"""Failures: every foreseen error becomes one clear line and an exit status; the rest travels."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable

from aar.cli.main import EXIT_BAD_INPUT, EXIT_CUT_OFF, EXIT_INTERRUPTED
from aar.cli.output import complain


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
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
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
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG):
            complain(str(error))
            return EXIT_BAD_INPUT
        raise
    except Exception as error:
        told = _told(error)
        if told is None:
            raise
        complain(told[0])
        return told[1]


def _told(error: Exception) -> tuple[str, int] | None:
    """The line and status of an error of a deeper layer, imported only when something went wrong."""
    from aar.outside.admission import Refused
    from aar.outside.control_plane import ServiceEnded
    from aar.outside.staff_client import GatewayGone, GatewayRefused
    from aar.outside.study_directory import NotAStudy, StudyInUse
    from aar.outside.study_file import StudyFileError
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
    if isinstance(error, GatewayGone):
        return f"{error}; ./aar run --dir goes on where the record says", EXIT_CUT_OFF
    if isinstance(error, (Refused, GatewayRefused, NotAStudy, StudyInUse, StudyFileError, NotARecord)):
        return str(error), EXIT_BAD_INPUT
    return None
