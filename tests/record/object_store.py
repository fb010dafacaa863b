"""A strict object store over HTTP, as much of S3 as an anchor uses: versions, Object Lock, preconditions.

Held to the same assertions as the stores of others (`test_record_s3.py`). `lies` are promises it breaks.
"""

from __future__ import annotations

import base64
import hashlib
import threading
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


class Refusal(Exception):
    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


@dataclass
class Version:
    version: str
    data: bytes | None
    """`None` is a delete marker."""
    mode: str = ""
    until: datetime | None = None
    modified: float = field(default_factory=time.time)

    @property
    def is_locked(self) -> bool:
        return self.mode == "COMPLIANCE" and self.until is not None and self.until > datetime.now(UTC)


@dataclass
class Bucket:
    has_lock: bool
    is_versioned: bool
    objects: dict[str, list[Version]] = field(default_factory=dict)


def parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


class ObjectStore:
    """Buckets, and what may be done with them."""

    def __init__(self, lies: Collection[str] = ()) -> None:
        self.buckets: dict[str, Bucket] = {}
        self.lies = frozenset(lies)
        self.lock = threading.Lock()
        self.is_down = False
        self.requests = 0

    def make(self, name: str, *, has_lock: bool) -> None:
        self.buckets[name] = Bucket(has_lock, has_lock)

    def put(self, bucket: Bucket, key: str, data: bytes, headers: Any) -> Version:
        versions = bucket.objects.setdefault(key, [])
        newest = versions[-1] if versions else None
        if headers.get("If-None-Match") == "*" and newest and newest.data is not None:
            if "preconditions" not in self.lies:
                raise Refusal(412, "PreconditionFailed")
        checksum = headers.get("x-amz-checksum-sha256")
        if checksum and checksum != base64.b64encode(hashlib.sha256(data).digest()).decode():
            if "checksums" not in self.lies:
                raise Refusal(400, "BadDigest")
        mode = headers.get("x-amz-object-lock-mode", "")
        until = headers.get("x-amz-object-lock-retain-until-date")
        if mode and not bucket.has_lock:
            raise Refusal(400, "InvalidRequest")
        if mode and "x-amz-sdk-checksum-algorithm" not in headers and "Content-MD5" not in headers:
            raise Refusal(400, "InvalidRequest")
        if until and parse_time(until) <= datetime.now(UTC):
            raise Refusal(400, "InvalidArgument")
        made = Version(uuid.uuid4().hex if bucket.is_versioned else "null", data)
        if mode and "locks" not in self.lies:
            made.mode, made.until = mode, parse_time(until)
        if "bytes" in self.lies:
            made.data = data + b"?"
        if not bucket.is_versioned:
            versions[:] = [one for one in versions if one.version != "null"]
        versions.append(made)
        return made

    def delete(self, bucket: Bucket, key: str, version: str | None) -> None:
        versions = bucket.objects.get(key, [])
        if version is None:
            versions.append(Version(uuid.uuid4().hex, None))
            return
        found = self.find(bucket, key, version)
        if found.is_locked and "deletes" not in self.lies:
            raise Refusal(403, "AccessDenied")
        versions.remove(found)

    def retain(self, bucket: Bucket, key: str, version: str, mode: str, until: datetime | None) -> None:
        found = self.find(bucket, key, version)
        is_less = mode != "COMPLIANCE" or until is None or (found.until is not None and until < found.until)
        if found.is_locked and is_less and "retention" not in self.lies:
            raise Refusal(403, "AccessDenied")
        found.mode, found.until = mode, until

    def find(self, bucket: Bucket, key: str, version: str | None) -> Version:
        versions = bucket.objects.get(key, [])
        if version is None:
            if not versions or versions[-1].data is None:
                raise Refusal(404, "NoSuchKey")
            return versions[-1]
        found = next((one for one in versions if one.version == version), None)
        if found is None:
            raise Refusal(404, "NoSuchVersion")
        return found


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: ObjectStore

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are counted, not logged."""

    def _handle(self) -> None:
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        name, _, key = unquote(url.path).lstrip("/").partition("/")
        body = self._body()
        try:
            with self.store.lock:
                self.store.requests += 1
                if self.store.is_down:
                    raise Refusal(503, "ServiceUnavailable")
                self._route(name, key, query, body)
        except Refusal as refused:
            data = f"<Error><Code>{refused.code}</Code><Message>{refused.code}</Message></Error>".encode()
            self._answer(refused.status, data)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle  # noqa: N815 - names that http.server asks for

    def _body(self) -> bytes:
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return b"".join(parts)
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding", "") == "aws-chunked":
            return _unchunked(data)
        return data

    def _route(self, name: str, key: str, query: dict[str, str], body: bytes) -> None:
        store = self.store
        bucket = store.buckets.get(name)
        if bucket is None:
            raise Refusal(404, "NoSuchBucket")
        version = query.get("versionId")
        if self.command == "PUT" and "versioning" in query:
            if bucket.has_lock and "versioning" not in store.lies:
                raise Refusal(409, "InvalidBucketState")
            bucket.is_versioned = b"Enabled" in body
            self._answer(200)
        elif self.command == "PUT" and "retention" in query:
            tree = ElementTree.fromstring(body) if body else None
            said = {one.tag.split("}")[-1]: one.text or "" for one in (tree if tree is not None else ())}
            until = said.get("RetainUntilDate")
            parsed = parse_time(until) if until else None
            store.retain(bucket, key, version or "", said.get("Mode", ""), parsed)
            self._answer(200)
        elif self.command == "PUT":
            made = store.put(bucket, key, body, self.headers)
            self._answer(200, b"", {"x-amz-version-id": made.version, "ETag": '"x"'})
        elif self.command == "POST" and "delete" in query:
            self._answer(200, self._delete_many(bucket, body))
        elif self.command == "DELETE":
            store.delete(bucket, key, version)
            self._answer(204)
        elif key:
            self._answer_object(store.find(bucket, key, version))
        elif "versions" in query:
            self._answer(200, _versions(bucket, query.get("prefix", "")))
        else:
            self._answer(200, _keys(bucket, query.get("prefix", "")))

    def _delete_many(self, bucket: Bucket, body: bytes) -> bytes:
        said = []
        for one in ElementTree.fromstring(body):
            fields = {part.tag.split("}")[-1]: part.text or "" for part in one}
            if "Key" in fields:
                try:
                    self.store.delete(bucket, fields["Key"], fields.get("VersionId"))
                    said.append(f"<Deleted><Key>{escape(fields['Key'])}</Key></Deleted>")
                except Refusal as refused:
                    said.append(f"<Error><Key>x</Key><Code>{refused.code}</Code></Error>")
        return f"<DeleteResult>{''.join(said)}</DeleteResult>".encode()

    def _answer_object(self, version: Version) -> None:
        if version.data is None:
            raise Refusal(405, "MethodNotAllowed")
        headers = {"x-amz-version-id": version.version, "Content-Type": "binary/octet-stream"}
        if version.mode and version.until:
            headers["x-amz-object-lock-mode"] = version.mode
            headers["x-amz-object-lock-retain-until-date"] = version.until.strftime(TIME)
        checksum = base64.b64encode(hashlib.sha256(version.data).digest()).decode()
        self._answer(200, version.data, headers | {"x-amz-checksum-sha256": checksum})

    def _answer(self, status: int, data: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response_only(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _unchunked(data: bytes) -> bytes:
    parts = []
    while True:
        head, _, data = data.partition(b"\r\n")
        size = int(head.split(b";")[0], 16)
        if not size:
            return b"".join(parts)
        parts.append(data[:size])
        data = data[size + 2 :]


def _stamp(version: Version) -> str:
    return datetime.fromtimestamp(version.modified, UTC).strftime(TIME)


def _versions(bucket: Bucket, prefix: str) -> bytes:
    said = []
    for key, versions in sorted(bucket.objects.items()):
        if key.startswith(prefix):
            for one in reversed(versions):
                tag = "Version" if one.data is not None else "DeleteMarker"
                said.append(
                    f"<{tag}><Key>{escape(key)}</Key><VersionId>{one.version}</VersionId>"
                    f"<LastModified>{_stamp(one)}</LastModified></{tag}>"
                )
    return (
        f"<ListVersionsResult><IsTruncated>false</IsTruncated>{''.join(said)}</ListVersionsResult>".encode()
    )


def _keys(bucket: Bucket, prefix: str) -> bytes:
    said = [
        f"<Contents><Key>{escape(key)}</Key><LastModified>{_stamp(versions[-1])}</LastModified></Contents>"
        for key, versions in sorted(bucket.objects.items())
        if key.startswith(prefix) and versions and versions[-1].data is not None
    ]
    return f"<ListBucketResult><IsTruncated>false</IsTruncated>{''.join(said)}</ListBucketResult>".encode()


@contextmanager
def serving(store: ObjectStore) -> Iterator[str]:
    """The store on loopback; its address."""
    handler = type("Handler", (_Handler,), {"store": store})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
