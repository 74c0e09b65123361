"""A web server of one folder, for what is read through fsspec: it gives ranges, or says that it does, or does not."""

from __future__ import annotations

import hashlib
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Server(ThreadingHTTPServer):
    """The first part of a path says how: ``/ranges/``, ``/none/`` (no ranges), ``/endless/`` (and no length)."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.sent: list[tuple[str, int]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        _, how, name = self.path.partition("?")[0].split("/", 2)
        path = self.server.folder / name
        if how == "refused":
            return self._refuse(403)
        if path.is_dir():
            names = sorted(each.name + ("/" if each.is_dir() else "") for each in path.iterdir())
            links = "".join(f'<a href="{self.server.url}{self.path}{each}">{each}</a>' for each in names)
            return self._send(200, links.encode(), body, {"Content-Type": "text/html"}, how)
        if not path.is_file():
            return self._refuse(404)
        data = path.read_bytes()
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()[:16]}"'}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if how != "ranges" or not asked:
            return self._send(200, data, body, headers, how)
        first, last = int(asked[1]), min(int(asked[2] or len(data) - 1), len(data) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        return self._send(206, data[first : last + 1], body, headers, how)

    def _refuse(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, status: int, data: bytes, body: bool, headers: dict[str, str], how: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if how == "endless":
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.server.sent.append((self.path, len(data)))
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(folder: Path):
    """The server, as long as it is needed."""
    server = Server(folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
