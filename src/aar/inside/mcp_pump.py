"""``python3 -m aar.inside.mcp_pump``: bytes between an MCP client without Unix sockets and the tools' socket.

Without arguments it is a server on standard input and output, for a client that starts its servers; with
``--port N`` it listens on 127.0.0.1 for a client that wants a URL, which it prints. It moves bytes and reads
none of them: a shim that understood a protocol would have to keep up with it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress

HTTP_SOCKET = "/run/gw/mcp.sock"
STDIO_SOCKET = "/run/gw/mcp-stdio.sock"
CHUNK_BYTES = 1 << 16


async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Move bytes until `source` ends or either side is gone, then say so to `sink`."""
    with suppress(ConnectionError):
        while data := await source.read(CHUNK_BYTES):
            sink.write(data)
            await sink.drain()
    with suppress(OSError):
        if sink.can_write_eof():
            sink.write_eof()


async def serve_port(port: int, path: str) -> None:
    """Listen on the loopback until the process ends; port 0 is one that is free."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_unix_connection(path)
        except OSError as error:
            sys.stderr.write(f"{path}: {error.strerror}\n")
            writer.close()
            return
        try:
            await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))
        finally:
            for one in (writer, far_writer):
                one.close()

    server = await asyncio.start_server(connected, "127.0.0.1", port)
    number = server.sockets[0].getsockname()[1]
    sys.stdout.write(f"http://127.0.0.1:{number}/mcp\n")
    sys.stdout.flush()
    await server.serve_forever()


def serve_stdio(path: str) -> None:
    """Be the server that a client starts, until the client ends it; what was asked last is still answered."""
    # Threads, not an event loop: standard input may be a file, which no loop can wait for.
    with socket.socket(socket.AF_UNIX) as far:
        far.connect(path)
        threading.Thread(target=_upwards, args=(far,), daemon=True).start()
        while data := far.recv(CHUNK_BYTES):
            _write_all(sys.stdout.fileno(), data)


def _upwards(far: socket.socket) -> None:
    with suppress(OSError):
        while data := os.read(sys.stdin.fileno(), CHUNK_BYTES):
            far.sendall(data)
        far.shutdown(socket.SHUT_WR)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="aar.inside.mcp_pump")
    parser.add_argument("--port", type=int, help="listen on 127.0.0.1 instead; 0 takes a free port")
    parser.add_argument("--socket", help=f"{HTTP_SOCKET} with --port, else {STDIO_SOCKET}")
    options = parser.parse_args(arguments)
    try:
        if options.port is not None:
            asyncio.run(serve_port(options.port, options.socket or HTTP_SOCKET))
        else:
            serve_stdio(options.socket or STDIO_SOCKET)
    except OSError as error:
        sys.stderr.write(f'{error.strerror}: is tools = "mcp" in the study file?\n')
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
