"""The peers that are libraries, as somebody would use them who knows them: one script each.

``python -m benchmarks.download.clients NAME LIST FOLDER [CONNECTIONS] [RANGES]`` fetches the URLs of a list into a
folder; without a number of connections, as many as the library takes by itself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

BLOCK = 1 << 16
"""Bytes that are taken and written at once, in each of them."""


def with_requests(urls: list[str], folder: Path, connections: int | None, ranges: int | None) -> None:
    """A session for each thread: requests does not promise that threads may share one."""
    import threading
    from concurrent.futures import ThreadPoolExecutor

    import requests

    own = threading.local()

    def fetch(url: str) -> None:
        session = getattr(own, "session", None)
        if session is None:
            session = own.session = requests.Session()
        with session.get(url, stream=True, timeout=60) as response:
            response.raise_for_status()
            with open(folder / url.rpartition("/")[2], "wb") as file:
                for block in response.iter_content(BLOCK):
                    file.write(block)

    with ThreadPoolExecutor(connections) as pool:
        list(pool.map(fetch, urls))


def with_aiohttp(urls: list[str], folder: Path, connections: int | None, ranges: int | None) -> None:
    """One session and a task for each URL; aiohttp's connector limits how many are under way (100, if not told)."""
    import asyncio

    import aiohttp

    async def fetch(session: aiohttp.ClientSession, url: str) -> None:
        async with session.get(url) as response:
            response.raise_for_status()
            with open(folder / url.rpartition("/")[2], "wb") as file:
                async for block in response.content.iter_chunked(BLOCK):
                    file.write(block)

    async def fetch_all() -> None:
        connector = aiohttp.TCPConnector() if connections is None else aiohttp.TCPConnector(limit=connections)
        # The default ends the whole after five minutes, waiting for a connection included.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=60, sock_read=60)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            asyncio.TaskGroup() as group,
        ):
            for url in urls:
                group.create_task(fetch(session, url))

    asyncio.run(fetch_all())


def with_pypdl(urls: list[str], folder: Path, connections: int | None, ranges: int | None) -> None:
    """``max_concurrent`` and ``segments`` as told; by itself it fetches one file after another, in five ranges."""
    from pypdl import Pypdl  # type: ignore[import-untyped]

    tasks = [{"url": url, "file_path": str(folder / url.rpartition("/")[2])} for url in urls]
    if connections is None:
        downloader = Pypdl()
        downloader.start(tasks=tasks, display=False)
    elif ranges:
        downloader = Pypdl(max_concurrent=1)
        downloader.start(tasks=tasks, display=False, segments=ranges)
    else:
        downloader = Pypdl(max_concurrent=connections)
        downloader.start(tasks=tasks, display=False, multisegment=False)
    if downloader.failed:
        raise SystemExit(f"failed: {downloader.failed[:3]}")


CLIENTS: dict[str, Callable[[list[str], Path, int | None, int | None], None]] = {
    "requests": with_requests,
    "aiohttp": with_aiohttp,
    "pypdl": with_pypdl,
}


def main(arguments: list[str]) -> None:
    """See the module."""
    name, listed, folder, *numbers = arguments
    connections, ranges = [int(n) for n in numbers] + [None] * (2 - len(numbers))
    CLIENTS[name](Path(listed).read_text().split(), Path(folder), connections, ranges)


if __name__ == "__main__":
    main(sys.argv[1:])
