"""Small servers on loopback whose every byte a test writes itself, and names that lead to them."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable

from whichpool.downloads.resolve import Resolver


class Peer:
    """One request on a connection, and the way back."""

    def __init__(self, server: Server, sock: socket.socket, number: int) -> None:
        self.server = server
        self.sock = sock
        self.number = number
        """Of the connection, from 1."""
        self.method = self.target = ""
        self.headers: dict[str, str] = {}
        self.rest = b""

    def hear(self) -> bool:
        """Read a request's head; false if the client has gone."""
        while b"\r\n\r\n" not in self.rest:
            data = self.sock.recv(65536)
            if not data:
                return False
            self.rest += data
            if self.rest[:1] == b"\x16":  # TLS where none is spoken: what servers do then
                self.send("HTTP/1.1 400 Bad Request\r\n\r\n")
                return False
        head, _, self.rest = self.rest.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.method, self.target, _ = lines[0].split(" ")
        pairs = (line.partition(":") for line in lines[1:])
        self.headers = {name.lower(): value.strip() for name, _, value in pairs}
        return True

    def send(self, data: bytes | str) -> None:
        self.sock.sendall(data.encode("latin-1") if isinstance(data, str) else data)

    def answer(self, status: str = "200 OK", body: bytes = b"", **headers: str | None) -> None:
        """A whole answer; ``content_length=None`` leaves that out, other names have ``_`` for ``-``."""
        told = {"Content-Length": str(len(body))}
        told |= {name.replace("_", "-").title(): value for name, value in headers.items()}  # type: ignore[misc]
        lines = [
            f"HTTP/1.1 {status}",
            *(f"{name}: {value}" for name, value in told.items() if value is not None),
        ]
        self.send("\r\n".join(lines) + "\r\n\r\n")
        self.send(body)

    def drip(self, data: bytes, every_s: float) -> None:
        """A byte at a time, so that each read of the client's brings something."""
        for at in range(len(data)):
            self.send(data[at : at + 1])
            if self.server.stopping.wait(every_s):
                return

    def hang(self) -> None:
        """Nothing more, until the client goes."""
        while self.sock.recv(65536):
            pass


class Server:
    """Calls ``answer`` for each request, on a thread for each connection, which ends where that returns ``False``."""

    def __init__(
        self, answer: Callable[[Peer], object], tls: ssl.SSLContext | None = None, port: int = 0
    ) -> None:
        self._answer = answer
        self._tls = tls
        self._listening = socket.create_server(("127.0.0.1", port))
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.port: int = self._listening.getsockname()[1]
        self.stopping = threading.Event()
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        """Method, target and headers of each request."""
        self.connections = 0
        self._start(self._accept)

    def url(self, path: str = "/", host: str = "127.0.0.1", user: str = "") -> str:
        return f"{'https' if self._tls else 'http'}://{user}{host}:{self.port}{path}"

    @property
    def targets(self) -> list[str]:
        return [target for _, target, _ in self.seen]

    def header(self, name: str, at: int = -1) -> str | None:
        """What a request had."""
        return self.seen[at][2].get(name.lower())

    def _start(self, run: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=run, args=args, daemon=True, name="netkit")
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            sock, _ = self._listening.accept()
            with self._lock:
                if self.stopping.is_set():
                    sock.close()
                    return
                self._open.add(sock)
                self.connections += 1
            self._start(self._talk, sock, self.connections)

    def _talk(self, plain: socket.socket, number: int) -> None:
        sock = plain
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                sock = self._tls.wrap_socket(plain, server_side=True)
                with self._lock:
                    self._open.discard(plain)
                    self._open.add(sock)
            peer = Peer(self, sock, number)
            while peer.hear():
                self.seen.append((peer.method, peer.target, peer.headers))
                if self._answer(peer) is False:
                    break
        except OSError:
            pass  # the client has gone, or the test is over
        finally:
            with self._lock:
                self._open.discard(sock)
                self._open.discard(plain)
            sock.close()
            plain.close()

    def stop(self) -> None:
        with self._lock:
            self.stopping.set()
            for sock in self._open:
                try:
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)
                except OSError:
                    pass
        socket.create_connection(("127.0.0.1", self.port)).close()  # wakes the thread that accepts
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()
        self._listening.close()


def names(**where: str) -> Resolver:
    """A resolver that knows these names (``_`` stands for ``.``), and no other."""

    def ask(host: str, port: int, family: int, kind: int) -> list[tuple[object, ...]]:
        known = {name.replace("_", "."): address for name, address in where.items()}
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, kind, 6, "", (known[host], port))]

    return Resolver(ask)  # type: ignore[arg-type]


def read(answer, most=1 << 20):
    """The whole body."""
    parts = []
    while data := answer.read(most):
        parts.append(data)
    return b"".join(parts)
