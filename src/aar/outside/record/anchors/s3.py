"""The `s3` anchor: a bucket with Object Lock, each object locked in COMPLIANCE mode as it is put.

A locked version cannot be removed or changed by anybody, its owner included, until its time is over. New
versions and delete markers can be put over it: whoever reads must read the first version (`fetch`). A store
may claim all this and do nothing: `probe` tries.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aar.outside.record.anchors.anchor import (
    AnchorConflict,
    AnchorError,
    AnchorRefused,
    NewTiles,
    ReadLeaves,
)
from aar.outside.record.anchors.layout import (
    blob_path,
    checkpoint_path,
    entries_held,
    format_segment,
    segment_path,
)

MODE = "COMPLIANCE"
CANARY_S = 60
# A store may round what it is told to whole seconds.
SLACK = timedelta(seconds=2)
VERSIONS = "versions.json"
# Only from the operator's own environment, never from a study file.
CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_CA_BUNDLE",
)


def connect(*, region: str, endpoint: str, environment: Mapping[str, str] = os.environ) -> Any:
    """A client of the store, by credentials from the environment; raises `AnchorRefused`."""
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise AnchorRefused("an s3 anchor needs boto3: pip install 'aar[s3]'") from error
    lost = [one for one in CREDENTIALS[:2] if not environment.get(one)]
    if lost:
        raise AnchorRefused(
            f"an s3 anchor takes its credentials from the environment: set {' and '.join(lost)}"
        )
    return boto3.client(
        "s3",
        region_name=region,
        endpoint_url=endpoint or None,
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=environment.get("AWS_SESSION_TOKEN"),
        config=Config(
            connect_timeout=5,
            read_timeout=20,
            retries={"max_attempts": 2, "mode": "standard"},
            s3={"addressing_style": "path"} if endpoint else {},
        ),
    )


def error_code(error: Exception) -> str:
    """The store's word for what went wrong, or the kind of the error when it gave none."""
    response = getattr(error, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return str(code or type(error).__name__)


class S3Anchor:
    """One bucket, under a prefix. `client` is boto3's; `now` is the time by which retention is set."""

    def __init__(
        self,
        name: str,
        client: Any,
        *,
        bucket: str,
        prefix: str,
        retain_days: int,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._name = name
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._retain = timedelta(days=retain_days)
        self._now = now
        self._held: dict[str, str] = {}

    @property
    def name(self) -> str:
        return self._name

    def start(self) -> int:
        """What its segments hold."""
        return entries_held(key.removeprefix("segment/") for key in self._keys("segment/"))

    def put_entries(self, first: int, end: int, root: bytes, leaves: ReadLeaves) -> None:
        self._put(segment_path(first, end, root), format_segment(leaves(first, end)))

    def put_published(self, size: int, note: bytes, _tiles: NewTiles, /) -> None:
        """The checkpoint alone: tiles follow from the segments."""
        self._put(checkpoint_path(size, note), note)

    def put_blob(self, digest: str, data: bytes) -> None:
        self._put(blob_path(digest), data)

    def _put(self, resource: str, data: bytes) -> None:
        """Put an object and lock it in one request; if it is there already, its first version must be it."""
        until = self._now() + self._retain
        try:
            version = self._put_locked(resource, data, until)
        except Exception as error:
            if error_code(error) in ("PreconditionFailed", "412"):
                self._check_first(resource, data)
                return
            raise self._failed(resource, error) from error
        self._check_put(resource, data, version, until)

    def _put_locked(self, resource: str, data: bytes, until: datetime) -> str:
        answer = self._client.put_object(
            Bucket=self._bucket,
            Key=self._prefix + resource,
            Body=data,
            # Both: a store refuses to lock what no checksum algorithm was named for.
            ChecksumAlgorithm="SHA256",
            ChecksumSHA256=_checksum(data),
            IfNoneMatch="*",
            ObjectLockMode=MODE,
            ObjectLockRetainUntilDate=until,
        )
        version = answer.get("VersionId")
        if not version or version == "null":
            raise AnchorError(f"anchor {self._name}: {resource} got no version: is versioning on?")
        return str(version)

    def _check_put(self, resource: str, data: bytes, version: str, until: datetime) -> None:
        """What was put is there, by its version: these bytes, locked until then."""
        try:
            told = self._client.head_object(
                Bucket=self._bucket,
                Key=self._prefix + resource,
                VersionId=version,
                ChecksumMode="ENABLED",
            )
        except Exception as error:
            raise self._failed(resource, error) from error
        held_until = told.get("ObjectLockRetainUntilDate")
        is_locked = told.get("ObjectLockMode") == MODE and held_until and held_until >= until - SLACK
        if not is_locked:
            raise AnchorError(f"anchor {self._name}: {resource} was taken and is not locked until {until}")
        if (told.get("ContentLength"), told.get("ChecksumSHA256")) != (len(data), _checksum(data)):
            raise AnchorError(f"anchor {self._name}: {resource} was taken and is not what was sent")

    def _check_first(self, resource: str, data: bytes) -> None:
        try:
            versions = [one for one in self._versions(resource) if one["Key"] == self._prefix + resource]
            body = self._read(versions[-1]) if versions else None
        except Exception as error:
            raise self._failed(resource, error) from error
        if body != data:
            raise AnchorConflict(
                f"anchor {self._name} holds other bytes under {resource}: another history was written there; "
                "verify the record against it before it goes on"
            )

    def _failed(self, resource: str, error: Exception) -> AnchorError:
        if isinstance(error, AnchorError):
            return error
        return AnchorError(f"anchor {self._name}: {resource}: {error_code(error)}: {error!s:.200}")

    def _keys(self, folder: str) -> Iterator[str]:
        """Names below the prefix, sorted."""
        try:
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + folder
            )
            for page in pages:
                for one in page.get("Contents", ()):
                    yield one["Key"].removeprefix(self._prefix)
        except Exception as error:
            raise self._failed(folder, error) from error

    def _versions(self, resource: str, kind: str = "Versions") -> list[dict[str, Any]]:
        """Versions (or delete markers) below a name, newest first for each key."""
        pages = self._client.get_paginator("list_object_versions").paginate(
            Bucket=self._bucket, Prefix=self._prefix + resource
        )
        return [one for page in pages for one in page.get(kind, ())]

    def _read(self, version: Mapping[str, Any]) -> bytes:
        answer = self._client.get_object(
            Bucket=self._bucket, Key=version["Key"], VersionId=version["VersionId"]
        )
        body: bytes = answer["Body"].read()
        return body

    # The promise, tried.

    def probe(self) -> str:
        """Lock a canary for a minute, try to get rid of it; `AnchorRefused` names what got through."""
        resource = f"canary/{int(self._now().timestamp())}-{os.getpid()}"
        data = b"a canary: it must outlive every attempt to remove it\n"
        until = self._now() + timedelta(seconds=CANARY_S)
        try:
            version = self._put_locked(resource, data, until)
            self._check_put(resource, data, version, until)
        except (AnchorError, Exception) as error:
            raise AnchorRefused(
                f"anchor {self._name}: a locked canary could not be put: {error_code(error)}: {error!s:.200}"
            ) from error
        through = [
            what for what, attempt in self._attempts(resource, version, until) if _gets_through(attempt)
        ]
        try:
            is_there = self._read({"Key": self._prefix + resource, "VersionId": version}) == data
        except Exception as error:  # noqa: BLE001 - whatever it says, what was locked is not to be had
            through.append(f"make the canary unreadable ({error_code(error)})")
        else:
            through += [] if is_there else ["change the canary"]
        if through:
            raise AnchorRefused(
                f"anchor {self._name}: bucket {self._bucket} does not hold what it locks; it let us "
                + ", ".join(through)
            )
        return f"object lock, {MODE}, {self._retain.days} days"

    def _attempts(
        self, resource: str, version: str, until: datetime
    ) -> Iterator[tuple[str, Callable[[], object]]]:
        """Each way out, and a call that must fail."""
        client, bucket, key = self._client, self._bucket, self._prefix + resource
        here = {"Bucket": bucket, "Key": key, "VersionId": version}
        yield (
            "put over it in spite of If-None-Match",
            lambda: client.put_object(Bucket=bucket, Key=key, Body=b"x", IfNoneMatch="*"),
        )
        yield (
            "put with a wrong checksum",
            lambda: client.put_object(
                Bucket=bucket, Key=key + "-checksum", Body=b"x", ChecksumSHA256=_checksum(b"y")
            ),
        )
        yield (
            "shorten the retention",
            lambda: client.put_object_retention(
                **here, Retention={"Mode": MODE, "RetainUntilDate": until - timedelta(seconds=CANARY_S - 5)}
            ),
        )
        yield (
            "downgrade to GOVERNANCE",
            lambda: client.put_object_retention(
                **here,
                Retention={"Mode": "GOVERNANCE", "RetainUntilDate": until},
                BypassGovernanceRetention=True,
            ),
        )
        yield (
            "clear the retention",
            lambda: client.put_object_retention(**here, Retention={}, BypassGovernanceRetention=True),
        )
        yield "suspend versioning", self._suspend_versioning
        yield "delete the version", lambda: client.delete_object(**here)
        yield "delete it by bypass", lambda: client.delete_object(**here, BypassGovernanceRetention=True)
        yield "delete it in a batch", lambda: _delete_in_batch(client, bucket, key, version)

    def _suspend_versioning(self) -> None:
        """Suspends it, and if that worked puts it back before anybody relies on it."""
        self._client.put_bucket_versioning(
            Bucket=self._bucket, VersioningConfiguration={"Status": "Suspended"}
        )
        self._client.put_bucket_versioning(Bucket=self._bucket, VersioningConfiguration={"Status": "Enabled"})

    def oldest_lock_ends(self) -> datetime | None:
        """Until when the first version of the first entries is locked; `None` where it is not in this mode.

        Raises `AnchorError`.
        """
        first = next(iter(self._keys("segment/")), None)
        if first is None:
            return None
        try:
            version = self._versions(first)[-1]
            told = self._client.head_object(
                Bucket=self._bucket, Key=version["Key"], VersionId=version["VersionId"]
            )
        except Exception as error:
            raise self._failed(first, error) from error
        ends = told.get("ObjectLockRetainUntilDate")
        return ends if told.get("ObjectLockMode") == MODE and isinstance(ends, datetime) else None

    def fetch(self, out: Path) -> int:
        """Write the first version of everything into a new directory; returns how many files.

        Objects of more than one version, or under a delete marker, are named in `versions.json`. Raises
        `AnchorError` and `OSError`.
        """
        out.mkdir(parents=True)
        try:
            versions, markers = self._versions(""), self._versions("", "DeleteMarkers")
        except Exception as error:
            raise self._failed("all versions", error) from error
        by_key: dict[str, list[dict[str, Any]]] = {}
        for one in versions:
            by_key.setdefault(one["Key"].removeprefix(self._prefix), []).append(one)
        marked: dict[str, int] = {}
        for one in markers:
            key = one["Key"].removeprefix(self._prefix)
            marked[key] = marked.get(key, 0) + 1
        kept = {key: held for key, held in by_key.items() if not key.startswith("canary/")}
        for key, held in kept.items():
            target = out / _safe(key)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                target.write_bytes(self._read(held[-1]))
            except OSError:
                raise
            except Exception as error:
                raise self._failed(key, error) from error
        changed = [
            {"key": key, "versions": len(held), "delete_markers": marked.get(key, 0)}
            for key, held in sorted(kept.items())
            if len(held) > 1 or key in marked
        ]
        (out / VERSIONS).write_text(json.dumps(changed, indent=1) + "\n", "utf-8")
        return len(kept)


def _safe(key: str) -> str:
    """A key as a path below a directory; the store's owner chooses keys."""
    parts = key.split("/")
    if key.startswith("/") or any(part in ("", ".", "..") for part in parts) or "\0" in key:
        raise AnchorError(f"the store holds a key that is no path: {key!r:.100}")
    return key


def _checksum(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode("ascii")


def _delete_in_batch(client: Any, bucket: str, key: str, version: str) -> None:
    answer = client.delete_objects(
        Bucket=bucket, Delete={"Objects": [{"Key": key, "VersionId": version}], "Quiet": False}
    )
    if answer.get("Errors"):
        raise AnchorError(str(answer["Errors"][0].get("Code")))


def _gets_through(attempt: Callable[[], object]) -> bool:
    """Whether the store let it happen; that it does not answer is no proof that it would have refused."""
    try:
        attempt()
    except Exception as error:
        if isinstance(getattr(error, "response", None), dict) or isinstance(error, AnchorError):
            return False
        raise AnchorRefused(f"the store did not answer a probe: {error!s:.200}") from error
    return True
