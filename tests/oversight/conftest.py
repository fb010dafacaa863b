"""One store, one run of the probes, and a deployment of which nothing bad can be said."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from aar.outside.oversight.facts import Facts
from aar.outside.sandbox.backend import missing_backend
from aar.outside.sandbox.doctor import DoctorReport, doctor
from oversight.deployment import Deployment, file_of, record_of, vault
from record.object_store import ObjectStore, serving

_prefixes = count()


@pytest.fixture(scope="session")
def report() -> DoctorReport:
    missing = missing_backend()
    if missing is not None:
        pytest.skip(missing)
    return doctor()


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    store = ObjectStore()
    store.make("vault", has_lock=True)
    with serving(store) as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "writer")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield address


@pytest.fixture
def prefix() -> str:
    return f"study-{next(_prefixes)}"


@pytest.fixture
def deploy(tmp_path: Path, report: DoctorReport, endpoint: str, prefix: str) -> Callable[..., Deployment]:
    """A deployment with a record of its own; anchored in the store unless told otherwise."""

    def make(*, anchors: str | None = None) -> Deployment:
        file = file_of(vault(endpoint, prefix) if anchors is None else anchors)
        return Deployment(tmp_path / "study", report, file, record_of(file, report))

    return make


@pytest.fixture(scope="session")
def good(report: DoctorReport, endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Facts:
    """What was found of a deployment that is go: a record, a store and probes, all of them asked."""
    file = file_of(vault(endpoint, "good"))
    return Deployment(
        tmp_path_factory.mktemp("good") / "study", report, file, record_of(file, report)
    ).facts()


@pytest.fixture(scope="session")
def planned(report: DoctorReport, endpoint: str) -> Facts:
    """The same before it is opened."""
    from oversight.deployment import facts_of_plan

    return facts_of_plan(file_of(vault(endpoint, "planned")), report)
