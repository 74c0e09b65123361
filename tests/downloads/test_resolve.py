"""Names to addresses: one lookup for all, kept for a while, and which addresses are public."""

from __future__ import annotations

import socket
import threading

import pytest

from whichpool.downloads import resolve
from whichpool.downloads.failures import NoSuchHost, TimedOut
from whichpool.downloads.resolve import Resolver, is_public


class Names:
    """Stands for `socket.getaddrinfo`."""

    def __init__(self, *found, failure=None):
        self.found = list(found)
        self.failure = failure
        self.asked = []
        self.go = threading.Event()
        self.go.set()
        self.now = 100.0

    def __call__(self, host, port, family, kind):
        self.asked.append(host)
        self.go.wait(10)
        if self.failure is not None:
            raise self.failure
        return [
            (
                socket.AF_INET6 if ":" in one else socket.AF_INET,
                kind,
                6,
                "",
                (one, port, 0, 0)[: 4 if ":" in one else 2],
            )
            for one in self.found
        ]

    def resolver(self):
        return Resolver(self, clock=lambda: self.now)


def hosts(addresses):
    return [address[0] for _, address in addresses]


PUBLIC = "8.8.8.8 1.1.1.1 2606:4700:4700::1111 ::ffff:8.8.8.8 64:ff9b::808:808 2002:808:808::"
NOT_PUBLIC = """
    127.0.0.1 127.8.8.8 0.0.0.0 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 192.0.0.9 224.0.0.1
    239.1.1.1 240.0.0.1 255.255.255.255 192.0.2.1 198.18.0.1 203.0.113.9 :: ::1 fe80::1 fe80::1%eth0 fc00::1 fd12::1
    ff02::1 fec0::1 2001:db8::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::127.0.0.1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe
    2002:7f00:1:: 64:ff9b:1::a00:1 2001:0:4136:e378:8000:63bf:80ff:fffe ::ffff:224.0.0.1 nonsense 127.1 0x7f000001
"""


def test_which_addresses_are_public():
    assert [address for address in PUBLIC.split() if not is_public(address)] == []
    assert [address for address in ["", *NOT_PUBLIC.split()] if is_public(address)] == []


def test_an_address_is_not_looked_up():
    names = Names()
    assert names.resolver().addresses("127.0.0.1", 80, 1) == ((socket.AF_INET, ("127.0.0.1", 80)),)
    assert names.resolver().addresses("[::1]", 80, 1) == ((socket.AF_INET6, ("::1", 80, 0, 0)),)
    assert not names.asked


def test_families_take_turns():
    names = Names("::1", "::2", "::3", "10.0.0.1", "10.0.0.2", "::1")
    assert hosts(names.resolver().addresses("a.test", 80, 5)) == ["::1", "10.0.0.1", "::2", "10.0.0.2", "::3"]


def test_one_lookup_serves_all_who_ask_at_once():
    names = Names("10.0.0.1")
    names.go.clear()
    resolver = names.resolver()
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(resolver.addresses("A.test", 80, 10))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    names.go.set()
    for thread in threads:
        thread.join()
    assert [hosts(one) for one in found] == [["10.0.0.1"]] * 8
    assert names.asked == ["A.test"]


def test_kept_for_its_time():
    names = Names("10.0.0.1")
    resolver = names.resolver()
    resolver.addresses("a.test", 80, 5)
    names.now += resolve.KEPT_S - 0.1
    resolver.addresses("A.TEST", 80, 5)
    assert len(names.asked) == 1
    names.now += 0.2
    names.found = ["10.0.0.2"]
    assert hosts(resolver.addresses("a.test", 80, 5)) == ["10.0.0.2"]


def test_what_could_not_be_connected_to_is_asked_anew():
    names = Names("10.0.0.1")
    resolver = names.resolver()
    resolver.addresses("a.test", 80, 5)
    resolver.forget("a.test", 80)
    resolver.forget("b.test", 80)
    resolver.addresses("a.test", 80, 5)
    assert len(names.asked) == 2


def test_no_such_host_is_remembered_shortly():
    names = Names(failure=socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    resolver = names.resolver()
    for _ in range(3):
        with pytest.raises(NoSuchHost, match=r"a\.test.*Name or service not known") as caught:
            resolver.addresses("a.test", 80, 5)
        assert not caught.value.again
    assert len(names.asked) == 1
    names.now += resolve.FAILED_KEPT_S
    with pytest.raises(NoSuchHost):
        resolver.addresses("a.test", 80, 5)
    assert len(names.asked) == 2


def test_a_resolver_that_cannot_tell_is_asked_again():
    names = Names(failure=socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"))
    resolver = names.resolver()
    for _ in range(2):
        with pytest.raises(NoSuchHost, match="Temporary") as caught:
            resolver.addresses("a.test", 80, 5)
        assert caught.value.again
    assert len(names.asked) == 2


def test_no_address_is_no_host():
    with pytest.raises(NoSuchHost):
        Names().resolver().addresses("a.test", 80, 5)


@pytest.mark.parametrize("host", ["a" * 64 + ".test", "a..test"])
def test_what_is_no_name(host):
    names = Names("10.0.0.1")
    with pytest.raises(NoSuchHost) as caught:
        names.resolver().addresses(host, 80, 5)
    assert not caught.value.again
    assert not names.asked


def test_a_lookup_that_takes_too_long_is_not_waited_for_and_not_lost():
    names = Names("10.0.0.1")
    names.go.clear()
    resolver = names.resolver()
    with pytest.raises(TimedOut, match="not resolved in time"):
        resolver.addresses("a.test", 80, 0.02)
    names.go.set()
    assert hosts(resolver.addresses("a.test", 80, 5)) == ["10.0.0.1"]
    assert len(names.asked) == 1


def test_no_more_threads(monkeypatch):
    def no_more(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_more)
    assert hosts(Names("10.0.0.1").resolver().addresses("a.test", 80, 5)) == ["10.0.0.1"]


def test_memory_stays_flat(monkeypatch):
    monkeypatch.setattr(resolve, "MOST_KEPT", 3)
    names = Names("10.0.0.1")
    resolver = names.resolver()
    for number in range(10):
        resolver.addresses(f"{number}.test", 80, 5)
    assert len(resolver._known) == 3
    resolver.addresses("9.test", 80, 5)
    assert len(names.asked) == 10
