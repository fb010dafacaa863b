"""The staff's client on a real server: who was busy for long is answered all the same."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from aar.outside import staff_client
from aar.outside.gateway import server as gateway_server
from aar.outside.gateway.server import UnixServer, serve_in_thread
from aar.outside.staff_client import GatewayGone, StaffClient


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StaffClient:
    """A client of a server that closes what is idle for a fifth of a second."""
    monkeypatch.setattr(gateway_server, "IDLE_TIMEOUT_S", 0.2)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "staff.sock"))
    listener.listen()
    server = UnixServer(
        listener,
        {("GET", "/v1/hello"): lambda _payload, _query: {"says": "hello"}},
        on_refused=lambda *_refused: None,
        on_request=lambda: None,
        on_error=lambda _error: None,
    )
    serve_in_thread(server, "staff")
    return StaffClient(str(tmp_path / "staff.sock"))


def test_the_client_leaves_a_connection_before_the_gateway_closes_it() -> None:
    assert staff_client.IDLE_S < gateway_server.IDLE_TIMEOUT_S


def test_after_a_pause_that_the_gateway_does_not_wait_for_a_new_connection_is_opened(
    client: StaffClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staff_client, "IDLE_S", 0.1)
    for _call in range(2):
        assert client.get("/v1/hello") == {"says": "hello"}
        time.sleep(0.5)


def test_a_connection_that_was_closed_meanwhile_is_no_answer(client: StaffClient) -> None:
    """What may have been taken is not said a second time unasked."""
    client.get("/v1/hello")
    time.sleep(0.5)
    with pytest.raises(GatewayGone):
        client.get("/v1/hello")
    assert client.get("/v1/hello") == {"says": "hello"}
