"""What all tests of the verifier share: nobody waits for a record that is not being written."""

from __future__ import annotations

import pytest

from aar.verify import study


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "PAUSE_S", 0.0)
