"""Anchors in a store with Object Lock: the same attempts on a strict store, on moto, and on LocalStack."""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError

from aar.outside.record.anchors.anchor import AnchorConflict, AnchorError, AnchorRefused
from aar.outside.record.anchors.s3 import MODE, S3Anchor, connect, error_code
from record.object_store import ObjectStore, serving

KEYS = {"AWS_ACCESS_KEY_ID": "writer", "AWS_SECRET_ACCESS_KEY": "secret"}
BUCKET = "vault"
NOTE = b"a checkpoint's note\n"


def client_of(endpoint: str) -> Any:
    return connect(region="us-east-1", endpoint=endpoint, environment=KEYS)


def anchor(endpoint: str, *, bucket: str = BUCKET, prefix: str = "study/") -> S3Anchor:
    return S3Anchor("vault", client_of(endpoint), bucket=bucket, prefix=prefix, retain_days=1)


@pytest.fixture
def store() -> ObjectStore:
    made = ObjectStore()
    made.make(BUCKET, has_lock=True)
    return made


@pytest.fixture
def endpoint(store: ObjectStore) -> Iterator[str]:
    with serving(store) as address:
        yield address


# What is put is locked, and read back.


def test_the_store_is_asked_until_when_the_oldest_entries_are_locked(
    store: ObjectStore, endpoint: str
) -> None:
    one = anchor(endpoint)
    assert one.oldest_lock_ends() is None
    one.put_entries(0, 1, bytes(32), lambda _start, _end: [b"leaf"])
    store.put(store.buckets[BUCKET], next(iter(store.buckets[BUCKET].objects)), b"later, and not locked", {})
    ends = one.oldest_lock_ends()
    assert ends is not None
    assert timedelta(hours=23) < ends - datetime.now(UTC) < timedelta(hours=25)
    unlocked = S3Anchor("v", client_of(endpoint), bucket=BUCKET, prefix="other/", retain_days=1)
    store.put(store.buckets[BUCKET], "other/segment/0", b"never locked", {})
    assert unlocked.oldest_lock_ends() is None
    gone = anchor(endpoint, bucket="nowhere")
    with pytest.raises(AnchorError):
        gone.oldest_lock_ends()


def test_everything_is_locked_as_it_is_put_and_nothing_is_put_twice(
    store: ObjectStore, endpoint: str
) -> None:
    one = anchor(endpoint)
    leaves = [b"leaf %d" % number for number in range(5)]
    one.put_entries(0, 5, bytes(32), lambda start, end: leaves[start:end])
    one.put_published(5, NOTE, lambda _old: ())
    one.put_blob("ab" * 32, b"blob")
    anchor(endpoint).put_published(5, NOTE, lambda _old: ())
    held = store.buckets[BUCKET].objects
    assert sorted(key.split("/")[1] for key in held) == ["blobs", "checkpoint", "segment"]
    assert {len(versions) for versions in held.values()} == {1}
    assert {versions[0].mode for versions in held.values()} == {MODE}
    least = datetime.now(UTC) + timedelta(days=1, minutes=-5)
    assert all(versions[0].until is not None and versions[0].until > least for versions in held.values())
    assert one.start() == 5


def test_other_bytes_under_a_name_are_two_histories(endpoint: str, store: ObjectStore) -> None:
    one = anchor(endpoint)
    one.put_blob("ab" * 32, b"blob")
    with pytest.raises(AnchorConflict, match="other bytes under blobs/"):
        one.put_blob("ab" * 32, b"blub")
    # What lies over the first version is not what was locked.
    key = "study/blobs/" + "cd" * 32
    store.put(store.buckets[BUCKET], key, b"first", {})
    store.put(store.buckets[BUCKET], key, b"second", {})
    with pytest.raises(AnchorConflict):
        one.put_blob("cd" * 32, b"second")
    one.put_blob("cd" * 32, b"first")


@pytest.mark.parametrize(
    ("lie", "says"),
    [("locks", "is not locked until"), ("bytes", "is not what was sent")],
)
def test_a_store_that_takes_and_does_not_keep_is_noticed_at_each_put(lie: str, says: str) -> None:
    store = ObjectStore({lie})
    store.make(BUCKET, has_lock=True)
    with serving(store) as endpoint, pytest.raises(AnchorError, match=says):
        anchor(endpoint).put_published(1, NOTE, lambda _old: ())


def test_a_bucket_without_versions_or_lock_is_no_anchor(store: ObjectStore, endpoint: str) -> None:
    store.make("plain", has_lock=False)
    with pytest.raises(AnchorError, match="InvalidRequest"):
        anchor(endpoint, bucket="plain").put_published(1, NOTE, lambda _old: ())
    store.make("unversioned", has_lock=True)
    store.buckets["unversioned"].is_versioned = False
    with pytest.raises(AnchorError, match="got no version"):
        anchor(endpoint, bucket="unversioned").put_published(1, NOTE, lambda _old: ())
    with pytest.raises(AnchorError, match="NoSuchBucket"):
        anchor(endpoint, bucket="none").put_published(1, NOTE, lambda _old: ())
    with pytest.raises(AnchorError, match="NoSuchBucket"):
        anchor(endpoint, bucket="none").start()


def test_a_store_that_does_not_answer_is_an_error_and_no_more(store: ObjectStore, endpoint: str) -> None:
    one = anchor(endpoint)
    store.is_down = True
    with pytest.raises(AnchorError, match="ServiceUnavailable"):
        one.put_published(1, NOTE, lambda _old: ())
    store.is_down = False
    one.put_published(1, NOTE, lambda _old: ())


def test_credentials_come_from_the_environment() -> None:
    with pytest.raises(AnchorRefused, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        connect(region="us-east-1", endpoint="", environment={})


# The promise, tried.


def test_a_store_that_holds_what_it_locks_passes_the_probe(store: ObjectStore, endpoint: str) -> None:
    assert anchor(endpoint).probe() == "object lock, COMPLIANCE, 1 days"


@pytest.mark.parametrize(
    ("lie", "says"),
    [
        ("deletes", "delete the version, .*make the canary unreadable"),
        ("retention", "shorten the retention, downgrade to GOVERNANCE, clear the retention"),
        ("versioning", "suspend versioning"),
        ("preconditions", "put over it in spite of If-None-Match"),
        ("checksums", "put with a wrong checksum"),
        ("locks", "could not be put"),
    ],
)
def test_a_store_that_breaks_one_promise_is_refused_by_name(lie: str, says: str) -> None:
    store = ObjectStore({lie})
    store.make(BUCKET, has_lock=True)
    with serving(store) as endpoint, pytest.raises(AnchorRefused, match=says):
        anchor(endpoint).probe()
    assert store.buckets[BUCKET].is_versioned


def test_a_store_that_is_away_passes_no_probe(store: ObjectStore) -> None:
    with serving(store) as endpoint:
        one = anchor(endpoint)
    with pytest.raises(AnchorRefused, match="could not be put"):
        one.probe()


# What was fetched is what was first put.


def test_fetching_brings_the_first_version_and_says_what_was_put_over_it(
    store: ObjectStore, endpoint: str, tmp_path: Path
) -> None:
    one, bucket = anchor(endpoint), store.buckets[BUCKET]
    one.probe()
    one.put_published(1, NOTE, lambda _old: ())
    one.put_blob("ab" * 32, b"blob")
    one.put_blob("cd" * 32, b"clean")
    store.put(bucket, "study/blobs/" + "ab" * 32, b"forged", {})
    store.delete(bucket, "study/blobs/" + "ab" * 32, None)
    store.put(bucket, "another/x", b"not ours", {})
    assert one.fetch(tmp_path / "out") == 3
    assert (tmp_path / "out" / "blobs" / ("ab" * 32)).read_bytes() == b"blob"
    import json

    told = json.loads((tmp_path / "out" / "versions.json").read_text())
    assert told == [{"key": "blobs/" + "ab" * 32, "versions": 2, "delete_markers": 1}]


@pytest.mark.parametrize("key", ["study/../x", "study//x", "study/./x"])
def test_a_key_that_leaves_the_directory_is_not_written(
    store: ObjectStore, endpoint: str, tmp_path: Path, key: str
) -> None:
    store.put(store.buckets[BUCKET], key, b"x", {})
    with pytest.raises(AnchorError, match="no path"):
        anchor(endpoint).fetch(tmp_path / "out")


# One list of attempts, three stores.


def attempts(client: Any, bucket: str) -> dict[str, str]:
    """Try each on a version locked for an hour: "refused", or "allowed"."""
    until = datetime.now(UTC) + timedelta(hours=1)
    locked = {
        "ObjectLockMode": MODE,
        "ObjectLockRetainUntilDate": until,
        "ChecksumAlgorithm": "SHA256",
    }

    def digest(data: bytes) -> str:
        return base64.b64encode(hashlib.sha256(data).digest()).decode()

    def put(key: str, data: bytes = b"x", **more: Any) -> Any:
        return client.put_object(Bucket=bucket, Key=key, Body=data, **more)

    version = put("k", b"kept", **locked, ChecksumSHA256=digest(b"kept"))["VersionId"]
    here = {"Bucket": bucket, "Key": "k", "VersionId": version}
    soon, gone = until - timedelta(minutes=30), datetime.now(UTC) - timedelta(days=1)

    def batch() -> None:
        answer = client.delete_objects(
            Bucket=bucket, Delete={"Objects": [{"Key": "k", "VersionId": version}]}
        )
        if answer.get("Errors"):
            raise RuntimeError(answer["Errors"])

    def retain(mode: str, date: datetime, **more: Any) -> Callable[[], Any]:
        told = {"Mode": mode, "RetainUntilDate": date}
        return lambda: client.put_object_retention(**here, Retention=told, **more)

    def read() -> None:
        assert client.get_object(**here)["Body"].read() == b"kept"

    def locked_by_head() -> None:
        told = client.head_object(**here)
        assert (told["ObjectLockMode"], told["ContentLength"]) == (MODE, 4)

    tried: list[tuple[str, Callable[[], Any]]] = [
        ("head says locked", locked_by_head),
        ("read by version", read),
        ("put if none, name taken", lambda: put("k", IfNoneMatch="*")),
        ("put if none, name free", lambda: put("free", IfNoneMatch="*")),
        ("put with a wrong checksum", lambda: put("bad", ChecksumSHA256=digest(b"y"))),
        ("put with a right checksum", lambda: put("good", ChecksumSHA256=digest(b"x"))),
        ("put locked until the past", lambda: put("p", **{**locked, "ObjectLockRetainUntilDate": gone})),
        ("shorten", retain(MODE, soon)),
        ("shorten by bypass", retain(MODE, soon, BypassGovernanceRetention=True)),
        ("downgrade", retain("GOVERNANCE", until, BypassGovernanceRetention=True)),
        (
            "clear",
            lambda: client.put_object_retention(**here, Retention={}, BypassGovernanceRetention=True),
        ),
        ("extend", retain(MODE, until + timedelta(hours=1))),
        ("delete the version", lambda: client.delete_object(**here)),
        ("delete by bypass", lambda: client.delete_object(**here, BypassGovernanceRetention=True)),
        ("delete in a batch", batch),
        (
            "suspend versioning",
            lambda: client.put_bucket_versioning(
                Bucket=bucket, VersioningConfiguration={"Status": "Suspended"}
            ),
        ),
        ("put a new version over it", lambda: put("k", b"over")),
        ("read the first version still", read),
        ("put a delete marker", lambda: client.delete_object(Bucket=bucket, Key="k")),
        ("put if none, over a marker", lambda: put("k", IfNoneMatch="*")),
        ("read the first version in the end", read),
    ]
    outcomes = {}
    for name, attempt in tried:
        try:
            attempt()
        except Exception as error:
            outcomes[name] = "refused" if not isinstance(error, AssertionError) else "wrong"
            if isinstance(error, TypeError):
                raise
        else:
            outcomes[name] = "allowed"
    return outcomes


# What a store with Object Lock does, by its documentation.
WANTED = {
    "head says locked": "allowed",
    "read by version": "allowed",
    "put if none, name taken": "refused",
    "put if none, name free": "allowed",
    "put with a wrong checksum": "refused",
    "put with a right checksum": "allowed",
    "put locked until the past": "refused",
    "shorten": "refused",
    "shorten by bypass": "refused",
    "downgrade": "refused",
    "clear": "refused",
    "extend": "allowed",
    "delete the version": "refused",
    "delete by bypass": "refused",
    "delete in a batch": "refused",
    "suspend versioning": "refused",
    "put a new version over it": "allowed",
    "read the first version still": "allowed",
    "put a delete marker": "allowed",
    "put if none, over a marker": "allowed",
    "read the first version in the end": "allowed",
}


def made_bucket(endpoint: str) -> Any:
    client = client_of(endpoint)
    client.create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True)
    return client


def differences(found: dict[str, str]) -> dict[str, str]:
    return {name: what for name, what in found.items() if what != WANTED[name]}


def test_our_own_store_does_what_a_store_with_object_lock_does(store: ObjectStore, endpoint: str) -> None:
    found = attempts(client_of(endpoint), BUCKET)
    assert list(found) == list(WANTED)
    assert differences(found) == {}


@pytest.fixture
def moto() -> Iterator[str]:
    """moto's server: it knows the words of Object Lock and enforces few of them."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def test_moto_does_not_hold_what_it_locks(moto: str) -> None:
    """The expected differences: when moto mends one, this says so."""
    client = made_bucket(moto)
    assert differences(attempts(client, BUCKET)) == MOTO_DIFFERS


MOTO_DIFFERS = {
    "put with a wrong checksum": "allowed",
    "put locked until the past": "allowed",
    "shorten": "allowed",
    "shorten by bypass": "allowed",
    "downgrade": "allowed",
    "clear": "allowed",
    "suspend versioning": "allowed",
    # What suspending made possible: the locked version itself is lost.
    "read the first version still": "refused",
    "read the first version in the end": "refused",
}


def test_a_study_would_be_refused_with_an_anchor_in_moto(moto: str) -> None:
    made_bucket(moto)
    with pytest.raises(
        AnchorRefused, match="does not hold what it locks; it let us put with a wrong checksum"
    ):
        anchor(moto).probe()


# LocalStack, where a Python of 3.12 or later is at hand.

LOCALSTACK = (
    "localstack-core[base-runtime]==2026.3.0",
    "cryptography<44",
    "pyOpenSSL==24.2.1",
    "service_identity==24.2.0",
    "cbor2<5.9",
)


def newer_python() -> str | None:
    installed = sorted(Path.home().glob(".pyenv/versions/3.1[2-9]*/bin/python"), reverse=True)
    for name in ("python3.13", "python3.12", *map(str, installed)):
        with suppress(OSError):
            if subprocess.run([name, "-c", "import venv"], capture_output=True, check=False).returncode == 0:
                return name
    return None


@contextmanager
def localstack(directory: Path) -> Iterator[str]:
    python = newer_python()
    if python is None:
        pytest.skip("no Python of 3.12 or later is here: LocalStack does not run on an older one")
    venv = directory / "venv"
    subprocess.run([python, "-m", "venv", str(venv)], check=True)
    install = [str(venv / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*install, LOCALSTACK[0]], capture_output=True, text=True, check=False)
    done = (
        done
        if done.returncode
        else subprocess.run([*install, *LOCALSTACK[1:]], capture_output=True, text=True, check=False)
    )
    if done.returncode:
        pytest.skip(f"LocalStack cannot be installed here: {done.stderr[-300:]}")
    environment = os.environ | {
        "SERVICES": "s3",
        "GATEWAY_LISTEN": "127.0.0.1:4599",
        "GATEWAY_SERVER": "hypercorn",
        "DISABLE_EVENTS": "1",
        "SKIP_SSL_CERT_DOWNLOAD": "1",
        "SKIP_INFRA_DOWNLOADS": "1",
        "DNS_ADDRESS": "0",
    }
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(venv / "bin" / "python"), "-m", "localstack.runtime.main"],
            env=environment,
            cwd=directory,
            stdout=log,
            stderr=log,
        )
        try:
            deadline = time.monotonic() + 400  # its first answer loads the whole service
            while True:
                try:
                    client_of("http://127.0.0.1:4599").list_buckets()
                    break
                except BotoCoreError as error:
                    if time.monotonic() > deadline:
                        raise TimeoutError((directory / "log").read_text()[-2_000:]) from error
                    time.sleep(0.5)
            yield "http://127.0.0.1:4599"
        finally:
            process.kill()
            process.wait()


@pytest.mark.deep
@pytest.mark.timeout(900)
def test_localstack_holds_what_it_locks(tmp_path: Path) -> None:
    with localstack(tmp_path) as endpoint:
        client = made_bucket(endpoint)
        assert differences(attempts(client, BUCKET)) == {"put locked until the past": "allowed"}
        assert anchor(endpoint).probe() == "object lock, COMPLIANCE, 1 days"


def test_an_error_without_a_response_is_called_by_its_kind() -> None:
    assert error_code(ValueError("x")) == "ValueError"
