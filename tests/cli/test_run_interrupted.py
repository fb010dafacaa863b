"""Ctrl-C while a study's directory is being made."""

from __future__ import annotations

from pathlib import Path

import pytest

from aar.cli.main import EXIT_INTERRUPTED, main
from aar.outside import study_directory


@pytest.mark.parametrize(
    ("after", "told"), [(0, "nothing was begun"), (1, "nothing was begun"), (2, "goes on")]
)
def test_ctrl_c_while_the_directory_is_made_says_whether_it_goes_on(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    after: int,
    told: str,
) -> None:
    written: list[Path] = []
    write = study_directory.write_durably

    def interrupted(path: Path, data: bytes, *, mode: int) -> None:
        if len(written) == after:
            raise KeyboardInterrupt
        write(path, data, mode=mode)
        written.append(path)
        if after == 2 and len(written) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(study_directory, "write_durably", interrupted)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert main(["run", "--dir", str(tmp_path / "study")]) == EXIT_INTERRUPTED
    assert told in capsys.readouterr().err
