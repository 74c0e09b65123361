"""Would libcurl in place of our own connections make `whichpool.download` faster, and is it as strict?

``python -m benchmarks.download.libcurl [--repeat 7] [--folder /dev/shm]``. Needs nginx and pycurl.

In turns, each in a fresh process, it has whichpool fetch the small files three times over: as it is; over the least
that libcurl can cost, without redirects, credentials, limits and checks, which a transport would have to add; and with
bytes that are there for nothing, which is the most that any transport can gain. Then one body of 1 GB, read and
dropped, the same ways; and pushed by libcurl as it likes to, which no caller can make wait for its turn. Last, answers
that are wrong, and what libcurl says to them.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.download import data, link, nginx

BLOCK = 1 << 18
"""Bytes that are read at once: as many as whichpool asks for."""

SMALL = data.WORKLOADS["small"]
BODY = data.Workload("body", 1, 1_000_000_000)
WAYS = ("ours", "libcurl", "nothing")
BODY_WAYS = ("ours", "libcurl", "pushed")

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
WRONG = {
    "more than the length says": HEAD + b"Content-Length: 5\r\n\r\nhello world",
    "a chunk told a byte too long": CHUNKED + b"6\r\nhello\r\n0\r\n\r\n",
    "a chunk's size with a letter in it": CHUNKED + b"5_0\r\nhello\r\n0\r\n\r\n",
    "more after the last chunk": CHUNKED + b"5\r\nhello\r\n0\r\n\r\nmore",
    "1,000 headers": HEAD + b"A: b\r\n" * 1000 + b"Content-Length: 5\r\n\r\nhello",
    "a header without a name": HEAD + b": none\r\nContent-Length: 5\r\n\r\nhello",
    "less than the length says": HEAD + b"Content-Length: 5\r\n\r\nhell",
}
"""whichpool takes each of them for a failure; the last one libcurl does too, so that the table can say so."""


class Curl:
    """What an answer needs of libcurl, and no more: a handle for each thread, whose body is pulled."""

    def __init__(self, settings: Any) -> None:
        self._own = threading.local()

    def ask_plainly(self, url: str) -> None:
        """All is asked by `open`."""

    def open(self, url: str, headers: Any = (), **asked: Any) -> Any:
        import pycurl

        from whichpool.downloads.transport import Answer

        if not hasattr(self._own, "handle"):
            handle = self._own.handle = pycurl.Curl()
            handle.setopt(pycurl.NOSIGNAL, 1)
            handle.setopt(pycurl.HTTPHEADER, ["Accept-Encoding: identity", "User-Agent: benchmark"])
            handle.setopt(pycurl.BUFFERSIZE, BLOCK)
            self._own.multi = pycurl.CurlMulti()
        handle, lines = self._own.handle, []
        body = _Pulled(self._own.multi, handle)
        handle.setopt(pycurl.URL, url)
        handle.setopt(pycurl.WRITEFUNCTION, body.came.append)
        handle.setopt(pycurl.HEADERFUNCTION, lines.append)
        self._own.multi.add_handle(handle)
        while not lines or lines[-1] != b"\r\n":
            body.pump()
        pairs = (line.decode("latin-1").partition(":") for line in lines[1:-1])
        told = {name.lower(): value.strip() for name, _, value in pairs}
        return Answer(url, handle.getinfo(pycurl.RESPONSE_CODE), told, body)

    def close(self) -> None:
        pass

    cut = close


class _Pulled:
    def __init__(self, multi: Any, handle: Any) -> None:
        self._multi, self._handle, self._goes_on = multi, handle, True
        self.came: deque[bytes] = deque()

    def pump(self) -> None:
        _, active = self._multi.perform()
        if not active:
            self.close()
            _, _, failed = self._multi.info_read()
            if failed:
                raise OSError(failed[0][2])
        elif not self.came:
            self._multi.select(30.0)

    def read(self, most: int) -> bytes:
        while self._goes_on and not self.came:
            self.pump()
        blocks, size = [], 0
        while self.came and size + len(self.came[0]) <= most:
            blocks.append(self.came.popleft())
            size += len(blocks[-1])
        if not blocks and self.came:  # the end of a body is looked for with a read of one byte
            blocks.append(self.came[0][:most])
            self.came[0] = self.came[0][most:]
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)

    def close(self) -> None:
        if self._goes_on:
            self._goes_on = False
            self._multi.remove_handle(self._handle)


class Free:
    """A transport that costs nothing."""

    def __init__(self, settings: Any) -> None:
        self._data = os.urandom(SMALL.size)

    def ask_plainly(self, url: str) -> None:
        """All is asked by `open`."""

    def open(self, url: str, headers: Any = (), **asked: Any) -> Any:
        from whichpool.downloads.transport import Answer

        told = {"content-length": str(SMALL.size), "etag": '"1-4e20"', "accept-ranges": "bytes"}
        return Answer(url, 200, told, _Free(self._data))

    def close(self) -> None:
        pass

    cut = close


class _Free:
    def __init__(self, content: bytes) -> None:
        self._left = content

    def read(self, most: int) -> bytes:
        found, self._left = self._left, b""
        return found

    def close(self) -> None:
        pass


def child(way: str, what: str, base: str, folder: str) -> None:
    """One measurement: prints wall and CPU seconds."""
    from whichpool.downloads import run
    from whichpool.downloads.records import Settings

    made: dict[str, Callable[[Settings], Any]] = {"ours": run.Transport, "libcurl": Curl, "nothing": Free}
    began, before = time.perf_counter(), _cpu_s()
    if what == SMALL.name:
        run.Transport = made[way]  # type: ignore[misc, assignment]
        urls = [f"{base}/{SMALL.name}/{number:06d}.bin" for number in range(SMALL.count)]
        wrong = [r for r in run.download(urls, folder) if r.outcome != "fetched" or r.bytes != SMALL.size]
        assert not wrong, wrong[0]
    elif way == "pushed":
        size = _push(f"{base}/{BODY.name}/000000.bin")
        assert size == BODY.size, size
    else:
        transport, size = made[way](Settings()), 0
        with transport.open(f"{base}/{BODY.name}/000000.bin") as answer:
            while block := answer.read(BLOCK):
                size += len(block)
        transport.close()
        assert size == BODY.size, size
    print(time.perf_counter() - began, _cpu_s() - before)


def _push(url: str) -> int:
    import pycurl

    sizes: list[int] = []
    handle = pycurl.Curl()
    handle.setopt(pycurl.URL, url)
    handle.setopt(pycurl.BUFFERSIZE, BLOCK)
    handle.setopt(pycurl.WRITEFUNCTION, lambda block: sizes.append(len(block)))
    handle.perform()
    handle.close()
    return sum(sizes)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def strictness() -> list[tuple[str, str]]:
    """Each wrong answer, and what libcurl says to it."""
    import pycurl

    said = []
    for name, answer in WRONG.items():
        with socket.create_server(("127.0.0.1", 0)) as listening:
            thread = threading.Thread(target=_serve_once, args=(listening, answer))
            thread.start()
            came: list[bytes] = []
            handle = pycurl.Curl()
            handle.setopt(pycurl.URL, f"http://127.0.0.1:{listening.getsockname()[1]}/")
            handle.setopt(pycurl.WRITEFUNCTION, came.append)
            try:
                handle.perform()
                said.append((name, f"whole: {b''.join(came)!r}"))
            except pycurl.error as error:
                said.append((name, f"failed: {error.args[1]}"))
            finally:
                handle.close()
                thread.join()
    return said


def _serve_once(listening: socket.socket, answer: bytes) -> None:
    sock, _ = listening.accept()
    with sock:
        sock.recv(1 << 16)
        sock.sendall(answer)


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.download.libcurl", description=__doc__)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where files go; /dev/shm takes the disk out of it")
    options = parser.parse_args(arguments)
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    with data.store() as root, tempfile.TemporaryDirectory(prefix="bench-nginx-") as own:
        for workload in (SMALL, BODY):
            data.make(workload, root)
        port = nginx.free_port()
        with link.serving(None, nginx.command(root, Path(own), port), port) as server:
            for _ in range(options.repeat):
                for what in (SMALL.name, BODY.name):
                    for way in WAYS if what == SMALL.name else BODY_WAYS:
                        found.setdefault((what, way), []).append(
                            _measured(way, what, f"http://{server.host}:{port}", options.folder)
                        )
    print(
        f"{'':14} {'wall s':>8} {'CPU s':>8} {'CPU / ours':>11}   medians of {options.repeat}; pairs of one round"
    )
    for (what, way), figures in found.items():
        ratios = [one[1] / other[1] for one, other in zip(figures, found[what, "ours"], strict=True)]
        wall, cpu = (statistics.median(column) for column in zip(*figures, strict=True))
        print(f"{what + ' ' + way:14} {wall:8.2f} {cpu:8.2f} {statistics.median(ratios):11.2f}")
    for name, said in strictness():
        print(f"{name:36} {said}")


def _measured(way: str, what: str, base: str, parent: Path | None) -> tuple[float, float]:
    folder = tempfile.mkdtemp(prefix="bench-", dir=parent)
    try:
        command = (
            f"from benchmarks.download.libcurl import child; child({way!r}, {what!r}, {base!r}, {folder!r})"
        )
        environment = os.environ | {"WHICHPOOL_CACHE": ""}
        done = subprocess.run(
            [sys.executable, "-c", command], env=environment, check=True, text=True, stdout=subprocess.PIPE
        )
        wall, cpu = map(float, done.stdout.split())
        return wall, cpu
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
