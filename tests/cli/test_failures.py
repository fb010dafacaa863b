"""What a command ends with when something goes wrong, told in one line."""

from __future__ import annotations

import argparse

import pytest

from aar.cli.failures import run_reporting_failures
from aar.cli.main import EXIT_FAULT, EXIT_INTERRUPTED


class Interrupting:
    """As a field of a dataclass at whose naming Ctrl-C is pressed."""

    def __set_name__(self, _owner: type, _name: str) -> None:
        raise KeyboardInterrupt


def making_a_class(_options: argparse.Namespace) -> int:
    class Task:
        holders = Interrupting()

    return 0


def failing(_options: argparse.Namespace) -> int:
    raise RuntimeError("odd")


def test_ctrl_c_while_a_class_is_made_is_ctrl_c(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_reporting_failures(making_a_class, argparse.Namespace()) == EXIT_INTERRUPTED
    assert capsys.readouterr().err == "aar: stopped\n"


def test_what_nobody_foresaw_is_a_fault_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_reporting_failures(failing, argparse.Namespace()) == EXIT_FAULT
    assert "a fault of aar itself: RuntimeError: odd" in capsys.readouterr().err
