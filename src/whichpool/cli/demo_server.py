"""The demo's server: ``python -I demo_server.py FOLDER DELAY_S``.

Run by its path and in isolated mode, so that it imports nothing but the standard library. It serves the files
of one folder on 127.0.0.1, each after the same delay, at a port that the system chooses. The port is its
first line of output. It ends when its standard input does, so it cannot outlive who started it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from pathlib import Path
from urllib.parse import unquote

__all__ = ["serve"]

# A request that is longer than this is none of the demo's. Bytes.
_LONGEST_REQUEST = 16_384


async def serve(folder: Path, delay_s: float) -> None:
    """Serve until standard input ends.

    Args:
        folder: Only files inside of it are served.
        delay_s: Seconds before each answer.
    """
    root = folder.resolve()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def watch() -> None:
        # Not through sys.stdin, whose lock the interpreter wants when it ends.
        while os.read(0, 4096):
            pass
        loop.call_soon_threadsafe(stop.set)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(delay_s)
            writer.write(_response(root, head))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client went away, or never spoke HTTP
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, limit=_LONGEST_REQUEST, backlog=512)
    threading.Thread(target=watch, name="whichpool-demo-stdin", daemon=True).start()
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await stop.wait()


def _response(root: Path, head: bytes) -> bytes:
    try:
        method, target, _ = head.split(b"\r\n", 1)[0].decode("ascii").split(" ")
        path = (root / unquote(target).lstrip("/")).resolve()
        if method != "GET" or not path.is_relative_to(root):
            raise FileNotFoundError
        body, status = path.read_bytes(), b"200 OK"
    except (OSError, ValueError):
        body, status = b"", b"404 Not Found"
    length = str(len(body)).encode()
    return b"HTTP/1.1 " + status + b"\r\nContent-Length: " + length + b"\r\nConnection: close\r\n\r\n" + body


def main() -> None:
    """Read the arguments and serve."""
    from contextlib import suppress

    folder, delay_s = sys.argv[1:]
    # Ctrl-C in a terminal reaches the whole group; the demo itself says what there is to say.
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(Path(folder), float(delay_s)))


if __name__ == "__main__":
    main()
