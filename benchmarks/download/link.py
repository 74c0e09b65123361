"""A server at the other end of a line with latency and loss: ``python -m benchmarks.download.link``.

The server runs in a network namespace of its own, which ends with it. Between there and here lies

netem     a pair of virtual Ethernet devices with ``tc qdisc ... netem``, where the kernel has netem
tun       else two TUN devices; this process carries the packets from one to the other, each after its time.
          TCP's segments stay together (up to 64 KB travel as one packet) unless packets are to be lost.

Both need root and Linux. This process ends, and takes all with it, when its standard input is closed.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import random
import select
import signal
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

CLONE_NEWNET = 0x40000000
TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_TSO4 = 0x01, 0x02
PR_SET_PDEATHSIG = 1
PACKET = 70_000
"""Bytes: an IP packet has 65,535 at most, and a header of 10 before it."""
QUEUE = 100_000
"""Packets on their way at the most; the default of a thousand would lose some of a burst."""
PATIENCE_S = 10.0
"""Until the server accepts connections; it takes some milliseconds."""


@dataclass(frozen=True)
class Line:
    """A line between two hosts."""

    round_trip_s: float
    loss: float = 0.0
    """Share of the packets that are lost, in each direction."""

    @property
    def title(self) -> str:
        loss = f", {self.loss:.1%} loss" if self.loss else ""
        return f"{self.round_trip_s * 1e3:g} ms{loss}"


class Impossible(Exception):
    """There can be no such line here; says why."""


@dataclass(frozen=True)
class Up:
    """A server that runs."""

    host: str
    how: str
    """ "loopback", "netem" or "tun"."""


@contextmanager
def serving(line: Line | None, command: list[str], port: int) -> Iterator[Up]:
    """Run a server's command at the other end of ``line``, or here; until it accepts connections, and no longer than
    the context lasts.

    Args:
        line: ``None``: no namespace, the server is reached by loopback.
        command: the server, in the foreground; it listens on all addresses.
        port: where it listens.

    Raises:
        Impossible: no namespaces or devices here, or the server does not start.
    """
    octet = os.getpid() % 250
    plan = {
        "line": line and asdict(line),
        "command": command,
        "device": f"wp{os.getpid() % 10**7}",
        "here": f"198.18.{octet}.1",  # the block that is set aside for benchmarks (RFC 2544)
        "there": f"198.18.{octet}.2",
    }
    arguments = [sys.executable, "-m", "benchmarks.download.link", json.dumps(plan)]
    process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        said = json.loads(process.stdout.readline() or '{"error": "it ended without a word"}')
        if "error" in said:
            raise Impossible(said["error"])
        host = str(said["host"])
        _wait_for(host, port, process)
        yield Up(host, said["how"])
    finally:
        process.stdin.close()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _wait_for(host: str, port: int, process: subprocess.Popen[str]) -> None:
    import socket

    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            socket.create_connection((host, port), timeout=1).close()
            return
        except OSError as error:
            if process.poll() is not None or time.monotonic() > end:
                raise Impossible(f"the server does not answer: {error}") from None
            select.select([], [], [], 0.01)


# ---- The process at the other end --------------------------------------------------------------------------


def main() -> None:
    """Make the line, start the server behind it, carry packets until standard input ends."""
    plan = json.loads(sys.argv[1])
    server = None
    try:
        host, how, carry = _lay(plan)
        server = subprocess.Popen(
            plan["command"], stdin=subprocess.DEVNULL, stdout=sys.stderr, preexec_fn=_die_with_parent
        )
        print(json.dumps({"host": host, "how": how}), flush=True)
        carry(server)
    except (OSError, Impossible, subprocess.CalledProcessError) as error:
        detail = getattr(error, "stderr", None) or error
        print(json.dumps({"error": str(detail).strip()}), flush=True)
    finally:
        if server is not None:
            server.terminate()
            server.wait()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _lay(plan: dict[str, Any]) -> tuple[str, str, Callable[[subprocess.Popen[bytes]], None]]:
    """The server's address, what the line is made of, and what to do until the end."""
    if plan["line"] is None:
        return "127.0.0.1", "loopback", _until_closed
    if not sys.platform.startswith("linux"):
        raise Impossible("network namespaces are Linux's")
    if os.geteuid():
        raise Impossible("network namespaces need root")
    line = Line(**plan["line"])
    try:
        _lay_netem(plan, line)
        return plan["there"], "netem", _until_closed
    except subprocess.CalledProcessError:
        _run("ip", "link", "del", plan["device"], check=False)
    return plan["there"], "tun", _lay_tun(plan, line)


def _lay_netem(plan: dict[str, Any], line: Line) -> None:
    device, peer = plan["device"], plan["device"] + "p"
    netem = ["root", "netem", "delay", f"{line.round_trip_s / 2 * 1e3}ms", "limit", str(QUEUE)]
    if line.loss:
        netem += ["loss", f"{line.loss:%}"]
    _run("ip", "link", "add", device, "type", "veth", "peer", "name", peer)
    # Before the namespace is made: if the kernel has no netem, nothing else has happened yet.
    _run("tc", "qdisc", "add", "dev", device, *netem)
    _address(device, plan["here"])
    outside = os.open("/proc/self/ns/net", os.O_RDONLY)
    _unshare()
    # In the old namespace, since the device is there.
    enter = ("nsenter", f"--net=/proc/{os.getpid()}/fd/{outside}")
    _run(*enter, "ip", "link", "set", peer, "netns", str(os.getpid()))
    os.close(outside)
    _address(peer, plan["there"])
    _run("ip", "link", "set", "lo", "up")
    _run("tc", "qdisc", "add", "dev", peer, *netem)


def _lay_tun(plan: dict[str, Any], line: Line) -> Callable[[subprocess.Popen[bytes]], None]:
    whole = not line.loss  # a lost packet of 64 KB would be 45 lost at once
    near = _tun(plan["device"], whole)
    _address(plan["device"], plan["here"])
    _unshare()
    far = _tun("far", whole)
    _address("far", plan["there"])
    _run("ip", "link", "set", "lo", "up")
    return lambda server: _carry(near, far, line)


def _tun(name: str, whole: bool) -> int:
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    flags = IFF_TUN | IFF_NO_PI | (IFF_VNET_HDR if whole else 0)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    if whole:
        fcntl.ioctl(device, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4)
    return device


def _address(device: str, address: str) -> None:
    _run("ip", "address", "add", address + "/30", "dev", device)
    _run("ip", "link", "set", device, "up", "txqueuelen", "10000")


def _unshare() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "a network namespace cannot be made")


def _run(*command: str, check: bool = True) -> None:
    subprocess.run(command, check=check, capture_output=True, text=True)


def _until_closed(server: subprocess.Popen[bytes]) -> None:
    """Until standard input ends, or the server."""
    ended = os.pidfd_open(server.pid)
    select.select([sys.stdin, ended], [], [])
    os.close(ended)


def _carry(near: int, far: int, line: Line, stop: Any = None) -> None:
    """Give each packet of one device to the other after half of the round trip, or lose it."""
    stop = sys.stdin.buffer if stop is None else stop
    half_s, loss = line.round_trip_s / 2, line.loss
    chance = random.Random(4)  # the same losses in each run, as far as the packets are the same
    other = {near: far, far: near}
    under_way: deque[tuple[float, int, bytes]] = deque()
    while True:
        wait_s = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        ready, _, _ = select.select([near, far, stop.fileno()], [], [], wait_s)
        if stop.fileno() in ready:
            return
        now = time.monotonic()
        for device in ready:
            for _ in range(64):  # then see to those that are due
                try:
                    packet = os.read(device, PACKET)
                except BlockingIOError:
                    break
                if len(under_way) < QUEUE and not (loss and chance.random() < loss):
                    under_way.append((now + half_s, other[device], packet))
        now = time.monotonic()
        while under_way and under_way[0][0] <= now:
            _, device, packet = under_way.popleft()
            try:
                os.write(device, packet)
            except OSError:
                pass  # the device's queue is full, or the packet is none that it takes: it is lost, as on any line


if __name__ == "__main__":
    main()
