"""A line that loses connections: a TCP proxy on loopback that delays, stalls, cuts and resets them at random, seeded.

    client ─> Lossy ─> server        what goes wrong with the n-th connection depends on the seed and on n only

It knows nothing of HTTP or TLS, so that real servers can be behind it. Small buffers: what a server has sent and the
client never got is little.
"""

from __future__ import annotations

import random
import select
import socket
import struct
import threading
from collections import Counter

__all__ = ["Lossy"]

PIECE_BYTES = 16_384
BUFFER_BYTES = 65_536
"""Of the kernel, on both sides; Linux doubles it."""
LATE_S = 0.03
FATES = ("reset", "reset", "close", "close", "stall", "late", "unanswered")
JOIN_S = 10.0


class Lossy:
    """A context manager.

    Args:
        to: The port of the server on 127.0.0.1.
        seed: Of its dice.
        every_bytes: So many bytes of answers go through on the average before something goes wrong.

    Attributes:
        port: Where it listens on 127.0.0.1.
        done: What was done to connections, and how often.
        most_lost: For each loss, what the server may have sent that did not arrive.
    """

    most_lost = 2 * 2 * BUFFER_BYTES + PIECE_BYTES

    def __init__(self, to: int, seed: int, every_bytes: int) -> None:
        self.done: Counter[str] = Counter()
        self._to = to
        self._seed = seed
        self._every_bytes = every_bytes
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        self.port = self._listener.getsockname()[1]
        self._wake, self._waker = socket.socketpair()
        self._threads = [threading.Thread(target=self._accept, name="lossy")]

    @property
    def losses(self) -> int:
        """Connections that were ended."""
        return sum(count for fate, count in self.done.items() if fate != "late")

    def __enter__(self) -> Lossy:
        self._threads[0].start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._waker.close()
        for thread in [*self._threads]:
            thread.join(JOIN_S)
            assert not thread.is_alive(), thread.name
        self._listener.close()
        self._wake.close()

    def _accept(self) -> None:
        number = 0
        while True:
            ready, _, _ = select.select([self._listener, self._wake], [], [])
            if self._wake in ready:
                return
            client, _ = self._listener.accept()
            dice = random.Random(f"{self._seed} {number}")
            number += 1
            thread = threading.Thread(target=self._carry, args=(client, dice), name=f"lossy-{number}")
            self._threads.append(thread)
            thread.start()

    def _carry(self, client: socket.socket, dice: random.Random) -> None:
        with client, socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
            try:
                server.connect(("127.0.0.1", self._to))
                while self._until_fate(client, server, *self._next(dice)):
                    pass
            except OSError:
                pass  # one of the two has gone

    def _next(self, dice: random.Random) -> tuple[str, int]:
        fate = dice.choice(FATES)
        return fate, 0 if fate == "unanswered" else round(dice.expovariate(1 / self._every_bytes))

    def _until_fate(self, client: socket.socket, server: socket.socket, fate: str, left: int) -> bool:
        """Carry so many bytes of answers; whether the connection goes on."""
        while True:
            ready, _, _ = select.select([client, server, self._wake], [], [])
            if self._wake in ready:
                return False
            if client in ready:
                data = client.recv(PIECE_BYTES)
                if not data or fate == "unanswered":
                    self.done[fate] += fate == "unanswered" and bool(data)
                    return False
                server.sendall(data)
            if server in ready:
                data = server.recv(min(PIECE_BYTES, left + 1))
                if not data:
                    return False
                client.sendall(data[:left])
                if len(data) > left:
                    return self._meets(client, server, fate, data[left:])
                left -= len(data)

    def _meets(self, client: socket.socket, server: socket.socket, fate: str, rest: bytes) -> bool:
        self.done[fate] += 1
        if fate == "late":
            if select.select([self._wake], [], [], LATE_S)[0]:
                return False
            client.sendall(rest)
            return True
        if fate == "stall":
            select.select([client, self._wake], [], [])  # until the client has enough of it
        elif fate == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False
