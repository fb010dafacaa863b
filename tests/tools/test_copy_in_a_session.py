"""The copy of the forum in a model's sandbox: whole at first, then what changed, and not what is kept."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from aar.inside.gateway_client import GatewayClient
from aar.llm.seat import Seat
from aar.llm.worker import open_session
from aar.llm.worker_config import Place
from aar.llm.worker_desk import WorkerDesk
from real_gateway import RealGateway


@pytest.fixture
def seat(real_gateway: RealGateway) -> Iterator[Seat]:
    socket = real_gateway.socket()
    place = Place(name="researcher-1", model="m", gateway=str(socket), gateway_dir=str(socket.parent), slot=0)
    seat = Seat(place, WorkerDesk("/nowhere"), lambda one: open_session(real_gateway.plane.launcher, one))
    yield seat
    seat.close()


def finding(client: GatewayClient, title: str) -> int:
    return client.finding(
        type="insight", title=title, text="t", method="", numbers={}, receipts=[], parents=[]
    )


@pytest.mark.sandbox
def test_a_shell_in_the_sandbox_greps_what_others_found_and_the_workspace_is_kept_without_it(
    real_gateway: RealGateway, seat: Seat
) -> None:
    two = real_gateway.client("researcher-2")
    two.study()
    first = finding(two, "copied before the sandbox was")

    def grep(words: str) -> str:
        seat.copy_forum()
        command = f"cd /workspace && echo mine > notes.md && grep -rl '{words}' forum/ | sort"
        return seat.run(("/bin/bash", "-c", command), timeout_s=30).stdout.decode()

    assert grep("copied before") == f"forum/INDEX.md\nforum/findings/{first:06d}.md\n"
    second = finding(two, "copied while it ran")
    assert grep("copied while") == f"forum/INDEX.md\nforum/findings/{second:06d}.md\n"
    assert seat.keep() == ""
    assert seat.files == {"notes.md": b"mine\n"}
    # Another sandbox of the same researcher has all of it again.
    seat.session().exec(("/bin/bash", "-c", "kill -9 -1"))
    seat.session().close()
    assert (
        grep("copied") == f"forum/INDEX.md\nforum/findings/{first:06d}.md\nforum/findings/{second:06d}.md\n"
    )


@pytest.mark.sandbox
def test_a_folder_in_the_way_costs_the_copy_and_nothing_else(real_gateway: RealGateway, seat: Seat) -> None:
    run = seat.run(("/bin/bash", "-c", "echo x > /tmp/forum"), timeout_s=30)
    assert run.returncode == 0
    seat.copy_forum()
    assert seat.run(("/bin/bash", "-c", "cat /tmp/forum"), timeout_s=30).stdout == b"x\n"
    seat.run(("/bin/bash", "-c", "rm /tmp/forum"), timeout_s=30)
    seat.copy_forum()
    listed = seat.run(("/bin/bash", "-c", "ls /workspace/forum"), timeout_s=30).stdout.split()
    assert {b"INDEX.md", b"README.md", b"methods.tsv"} <= set(listed)
