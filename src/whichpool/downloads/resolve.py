"""From names to addresses: a cache, one lookup per name at once, and which addresses are public."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from whichpool.downloads.failures import DownloadFailed, NoSuchHost, TimedOut

__all__ = ["Address", "Resolver", "is_public"]

Address = tuple[int, tuple[object, ...]]
"""A family and what a socket of it is connected to."""

KEPT_S = 60.0
"""Seconds that an answer is used for. The lifetime that the server gave is not known (`getaddrinfo` does not tell); a
minute is what short ones have, and what browsers take."""

FAILED_KEPT_S = 5.0
"""Seconds that "no such host" is remembered: ten thousand URLs of a host that is not there are one lookup. A guess."""

MOST_KEPT = 1_000
"""Names, so that a list of a million hosts holds memory flat; about 1 kB each."""

# What may be otherwise in a moment: a name server that does not answer, no memory, an error of the system's.
MAY_PASS = {socket.EAI_AGAIN, socket.EAI_MEMORY, getattr(socket, "EAI_SYSTEM", socket.EAI_AGAIN)}

NAT64 = ipaddress.ip_network("64:ff9b::/96")
"""An IPv4 address stands in the last 32 bits (RFC 6052)."""

NOT_PUBLIC = tuple(
    map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "64:ff9b:1::/48", "2001:2::/48"))
)
"""Blocks that some versions of `ipaddress` take for public, or partly so: protocol assignments, retired relays, NAT64
for use within one network (RFC 8215), benchmarks."""


def is_public(address: str) -> bool:
    """Whether an address is one of the internet's: not private, loopback, link-local, shared, multicast or reserved.

    An IPv4 address that an IPv6 one carries (mapped, compatible, NAT64, 6to4, Teredo) counts as what it is.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = parsed.ipv4_mapped or parsed.sixtofour
        if inner is None and parsed.teredo is not None:
            inner = parsed.teredo[1]
        if inner is None and (parsed in NAT64 or int(parsed) >> 32 == 0):
            inner = ipaddress.IPv4Address(int(parsed) & 0xFFFF_FFFF)
        if inner is not None:
            return _global(inner)
        return _global(parsed) and not parsed.is_site_local
    return _global(parsed)


def _global(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    blocks = (block for block in NOT_PUBLIC if block.version == address.version)
    return address.is_global and not address.is_multicast and not any(address in block for block in blocks)


class _Lookup:
    """One name: being looked up until ``done`` is set, then its addresses or its failure."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.addresses: tuple[Address, ...] = ()
        self.failure: DownloadFailed | None = None
        self.stale_at = 0.0


class Resolver:
    """Addresses by name, kept for a minute. Thread-safe.

    A lookup runs on a thread of its own, since `getaddrinfo` cannot be interrupted: who asks waits no longer than it
    wants to, and what is found later is there for the next.
    """

    def __init__(
        self,
        ask: Callable[..., list[tuple[int, int, int, str, tuple[object, ...]]]] = socket.getaddrinfo,  # type: ignore[assignment]
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, int], _Lookup] = OrderedDict()

    def addresses(self, host: str, port: int, within_s: float) -> tuple[Address, ...]:
        """The addresses of a host, the preferred one first.

        Raises:
            NoSuchHost: There is none of that name; ``again`` if the resolver could not tell.
            TimedOut: It was not known within ``within_s``.
        """
        literal = _literal(host, port)
        if literal is not None:
            return (literal,)
        key = (host.lower(), port)
        mine = False
        with self._lock:
            lookup = self._known.get(key)
            if lookup is None or (lookup.done.is_set() and lookup.stale_at <= self._clock()):
                mine = True
                lookup = self._known[key] = _Lookup()
                self._known.move_to_end(key)
                if len(self._known) > MOST_KEPT:
                    self._known.popitem(last=False)
        if mine:
            work = (lookup, host, port)
            try:
                threading.Thread(
                    target=self._look_up, args=work, name="whichpool-resolver", daemon=True
                ).start()
            except RuntimeError:  # the system starts no more threads
                self._look_up(*work)
        if not lookup.done.wait(max(within_s, 0.0)):
            raise TimedOut(f"the name {host} was not resolved in time")
        if lookup.failure is not None:
            # A new one for each who waited: an exception carries the traceback of one thread.
            raise NoSuchHost(str(lookup.failure), again=lookup.failure.again)
        return lookup.addresses

    def forget(self, host: str, port: int) -> None:
        """Ask anew next time: no connection could be made to what was known."""
        with self._lock:
            lookup = self._known.get((host.lower(), port))
            if lookup is not None and lookup.done.is_set():
                del self._known[host.lower(), port]

    def _look_up(self, lookup: _Lookup, host: str, port: int) -> None:
        kept_s = 0.0
        try:
            host.encode("idna")  # a label that is empty or too long; `getaddrinfo` would raise UnicodeError
            found = self._ask(host, port, 0, socket.SOCK_STREAM)
            lookup.addresses = _in_turns(
                (family, address) for family, _, _, _, address in found if len(address) in (2, 4)
            )
            if not lookup.addresses:
                raise socket.gaierror(socket.EAI_NONAME, "no address is known for it")
            kept_s = KEPT_S
        except UnicodeError:
            lookup.failure = NoSuchHost(f"{host[:80]!r} is no name of a host")
            kept_s = FAILED_KEPT_S
        except OSError as error:
            again = isinstance(error, socket.gaierror) and error.errno in MAY_PASS
            lookup.failure = NoSuchHost(
                f"the name {host} was not resolved: {error.strerror or error}", again=again
            )
            kept_s = 0.0 if again else FAILED_KEPT_S
        except BaseException as error:
            lookup.failure = NoSuchHost(
                f"the name {host} was not resolved: {type(error).__name__}", again=True
            )
        finally:
            lookup.stale_at = self._clock() + kept_s
            lookup.done.set()


def _literal(host: str, port: int) -> Address | None:
    """An address that is written as one; what only some resolvers take for one (``127.1``) is looked up."""
    bare = host.strip("[]")
    name, _, zone = bare.partition("%")
    try:
        parsed = ipaddress.ip_address(name)
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv4Address):
        return (socket.AF_INET, (str(parsed), port))
    scope = 0
    if zone:
        try:
            scope = int(zone) if zone.isdecimal() else socket.if_nametoindex(zone)
        except OSError:
            raise NoSuchHost(f"there is no network interface {zone}") from None
    return (socket.AF_INET6, (str(parsed), port, 0, scope))


def _in_turns(found: object) -> tuple[Address, ...]:
    """The families in turns (RFC 8305, 4), from the preferred one on: a family that is broken costs one try."""
    by_family: dict[int, list[Address]] = {}
    for address in dict.fromkeys(found):  # type: ignore[call-overload]
        by_family.setdefault(int(address[0]), []).append(address)
    rows = list(by_family.values())
    return tuple(
        row[turn] for turn in range(max(map(len, rows), default=0)) for row in rows if turn < len(row)
    )
