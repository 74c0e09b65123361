"""Redirects, credentials, retries, pauses, timeouts, certificates: how servers are talked to."""

from __future__ import annotations

import base64
import socket
import time
from email.utils import formatdate

import hostile as h
import pytest
from get_help import digest, fetch, fetch_one, files, finished, only

from whichpool.downloads.records import Request

SECRET = "s3cr3t-and-only-h3re"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def other(servers):
    """Another host: another address of this one."""
    return servers(host="127.0.0.2")


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


# --- redirects ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_followed(server, folder, code):
    url = server.at("/a", h.redirect("/deep/b?x=1", code))
    server.at("/deep/b?x=1", h.redirect("../c", code))
    server.at("/c", h.serve(b"c"))
    receipt = fetch_one(Request(url, name="c"), folder, retries=0)
    assert receipt.ok
    assert receipt.final_url == server.origin + "/c"
    assert receipt.url == url


def test_redirects_that_are_not_followed(server, servers, certificates, folder, tmp_path):
    counter = iter(range(10**6))
    (tmp_path / "secret").write_bytes(b"secret")
    server.at("/b", h.redirect("/loop"))
    cases = {
        "itself": ["/itself"],
        "loop": ["/b"],
        "file": [f"file://{tmp_path}/secret"],
        "data": ["data:text/plain,hello"],
        "ftp": ["ftp://127.0.0.1/x"],
        "javascript": ["javascript:alert(1)"],
        "empty": [""],
        "no-host": ["http:///x"],
        "bad-port": ["http://127.0.0.1:99999999/x"],
        "bad-port-2": ["http://127.0.0.1:x/x"],
        "bad-v6": ["http://[::1/x"],
        "gopher": ["gopher://127.0.0.1/x"],
        "long": ["http://" + "x" * 10_000 + "/"],
    }
    urls = [server.at(f"/{name}", h.redirect(to[0])) for name, to in cases.items()]
    urls.append(server.at("/none", h.status(302)))
    server.under("/endless/", h.redirect(lambda visit: f"/endless/{next(counter)}"))
    urls.append(server.origin + "/endless/0")
    receipts = fetch(urls, folder, retries=0)
    wrong = {
        u: (r.failure, r.message) for u, r in receipts.items() if r.failure not in {"badredirect", "unsafe"}
    }
    for tolerable in [u for u in wrong if "long" in u or "no-host" in u]:
        # `http:///x` is also read as `/x` at the same host.
        assert wrong.pop(tolerable)[0] in {"nosuchhost", "unreachable", "gone"}
    assert wrong == {}
    assert len(server.asked("/itself")) <= 2
    assert next(counter) <= 25
    assert finished(folder) == {}
    # A loop is not tried again.
    assert fetch_one(server.origin + "/itself", folder, retries=5).attempts == 1


def test_no_redirect_from_https_to_http_unless_allowed(server, servers, certificates, folder):
    safe = servers(tls=certificates.good())
    plain = server.at("/plain", h.serve(b"plain"))
    url = safe.at("/a", h.redirect(plain))
    receipt = fetch_one(Request(url, name="a"), folder, ca_bundle=certificates.bundle)
    assert (receipt.failure, receipt.attempts) == ("badredirect", 1)
    assert server.requests == []
    assert fetch_one(Request(url, name="a"), folder, ca_bundle=certificates.bundle, downgrade=True).ok


# --- credentials ----------------------------------------------------------------------------------------------


def seen_secrets(*places):
    return [
        r.target
        for place in places
        for r in place.requests
        if SECRET in repr(r.headers) or "authorization" in r.headers
    ]


def no_leak(folder, receipts, capture=""):
    for receipt in receipts:
        assert SECRET not in repr(receipt)
        assert "mole:" not in repr(receipt)
    for name, content in files(folder).items():
        assert SECRET.encode() not in content, name
        assert SECRET not in name
    assert SECRET not in capture


def test_credentials_stay_with_their_host(server, other, folder, tmp_path, capfd):
    server.under("/", h.serve(b"x"))
    other.under("/", h.serve(b"x"))
    for code in (301, 302, 307, 308):
        server.at(f"/away-{code}", h.redirect(f"{other.origin}/x{code}", code))
        server.at(f"/near-{code}", h.redirect(f"/y{code}", code))
    server.at("/port", h.redirect(lambda v: f"http://127.0.0.1:{other_port.port}/z"))
    secrets = {"Authorization": f"Bearer {SECRET}", "Cookie": f"a={SECRET}", "X-Plain": "plain"}
    with h.Hostile() as other_port:
        other_port.under("/", h.serve(b"x"))
        names = [*(f"{w}-{c}" for w in ("away", "near") for c in (301, 302, 307, 308)), "port"]
        requests = [Request(f"{server.origin}/{n}", name=n, headers=secrets) for n in names]
        receipts = fetch(requests, folder, retries=0)
        assert all(r.ok for r in receipts.values())
        assert seen_secrets(other, other_port) == []
        assert len(other.requests) == 4
    near = [r for r in server.requests if r.target.startswith("/y")]
    assert [r.headers["authorization"] for r in near] == [secrets["Authorization"]] * 4
    no_leak(folder, receipts.values(), "".join(capfd.readouterr()))


def test_credentials_in_the_url(server, other, folder):
    url = server.at("/a", h.redirect(other.origin + "/a"))
    other.at("/a", h.serve(b"x"))
    direct = server.at("/b", h.serve(b"x"))
    odd = server.at("/c", h.serve(b"x"))
    requests = [
        url.replace("//", f"//mole:{SECRET}@"),
        direct.replace("//", f"//mole:{SECRET}@"),
        odd.replace("//", f"//mo%40le:{SECRET}%2F%3A@"),
    ]
    receipts = fetch(requests, folder, retries=0)
    assert all(r.ok for r in receipts.values())
    assert server.asked("/a")[-1].headers["authorization"] == basic("mole", SECRET)
    assert server.asked("/b")[-1].headers["authorization"] == basic("mole", SECRET)
    assert server.asked("/c")[-1].headers["authorization"] == basic("mo@le", SECRET + "/:")
    assert seen_secrets(other) == []
    for r in server.requests:
        assert SECRET not in r.target
        assert SECRET not in r.headers["host"]
    no_leak(folder, receipts.values())


def test_credentials_of_failures_are_in_no_message_and_no_journal(server, folder, noise):
    body = noise(500_000)
    scripts = {
        "cut": h.serve(body, stop_at=400_000, then="reset"),
        "404": h.status(404),
        "500": h.status(500),
        "garbage": h.raw(b"garbage"),
        "loop": h.redirect("/loop"),
        "to": h.redirect(f"http://mole:{SECRET}@127.0.0.1:1/x"),
        "down": h.redirect(f"ftp://mole:{SECRET}@127.0.0.1:1/x"),
        "odd": h.redirect(f"http://mole:{SECRET}@127.0.0.1:port/x"),
    }
    requests = [server.at(f"/{n}", s).replace("//", f"//mole:{SECRET}@") for n, s in scripts.items()]
    requests.append(f"http://mole:{SECRET}@127.0.0.1:1/closed")
    requests.append(f"http://mole:{SECRET}@nosuchhost.invalid/")
    receipts = fetch(requests, folder, retries=0, headers={"X-Token": SECRET})
    assert not any(r.ok for r in receipts.values())
    assert [n for n in files(folder) if n.endswith(".journal")], "there is a journal to look at"
    no_leak(folder, receipts.values())


def test_a_query_may_be_a_secret(server, folder, noise):
    """Signed URLs: they stay in receipts, as they are the name of the thing; that is documented. They are no header."""
    url = server.at("/a?token=abc", h.serve(b"x"))
    assert fetch_one(url, folder).url == url


def test_netrc_and_a_user_for_the_rest(server, other, folder, tmp_path, monkeypatch):
    monkeypatch.delenv("NETRC")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".netrc").write_text(f"machine 127.0.0.1 login mole password {SECRET}\n")
    (tmp_path / "home" / ".netrc").chmod(0o600)
    urls = [server.at("/a", h.serve(b"x")), other.at("/b", h.serve(b"x"))]
    receipts = fetch(urls, folder, user=("vole", "water"))
    assert server.asked("/a")[0].headers["authorization"] == basic("mole", SECRET)
    assert other.asked("/b")[0].headers["authorization"] == basic("vole", "water")
    no_leak(folder, receipts.values())
    url = server.at("/c", h.serve(b"x"))
    fetch([url.replace("//", "//badger:set@")], folder)
    assert server.asked("/c")[0].headers["authorization"] == basic("badger", "set")


def test_a_user_is_not_sent_to_where_a_redirect_leads(server, other, folder):
    url = server.at("/a", h.redirect(other.origin + "/a"))
    other.at("/a", h.serve(b"x"))
    assert fetch_one(url, folder, user=("mole", SECRET)).ok
    assert seen_secrets(other) == []


def test_cookies(server, other, folder, tmp_path):
    lines = [
        "# Netscape HTTP Cookie File",
        f"127.0.0.1\tFALSE\t/\tFALSE\t2000000000\tplain\t{SECRET}",
        "127.0.0.1\tFALSE\t/\tTRUE\t2000000000\tonly-tls\tx",
        "127.0.0.1\tFALSE\t/deep\tFALSE\t2000000000\tdeep\tx",
        "127.0.0.1\tFALSE\t/\tFALSE\t1000000000\texpired\tx",
        "#HttpOnly_127.0.0.1\tFALSE\t/\tFALSE\t2000000000\thidden\tx",
    ]
    (tmp_path / "cookies").write_text("\n".join(lines) + "\n")
    urls = [
        server.at("/a", h.serve(b"x")),
        server.at("/deep/b", h.serve(b"x")),
        other.at("/c", h.serve(b"x")),
    ]
    away = server.at("/d", h.redirect(other.origin + "/e"))
    other.at("/e", h.serve(b"x"))
    fetch([*urls, away], folder, cookies=tmp_path / "cookies", retries=0)
    names = lambda r: {c.partition("=")[0].strip() for c in r.headers.get("cookie", "").split(";")}  # noqa: E731
    assert names(server.asked("/a")[0]) == {"plain", "hidden"}
    assert names(server.asked("/deep/b")[0]) == {"plain", "hidden", "deep"}
    assert all("cookie" not in r.headers for r in other.requests)


# --- again, or not --------------------------------------------------------------------------------------------


def test_what_is_tried_again(server, folder):
    body = b"at last"
    urls = [
        server.at(f"/{code}", h.status(code), h.serve(body)) for code in (408, 425, 429, 500, 502, 503, 504)
    ]
    urls.append(server.at("/reset", h.refuse, h.serve(body)))
    urls.append(server.at("/garbage", h.raw(b"garbage\r\n\r\n"), h.serve(body)))
    receipts = fetch(urls, folder)
    # Of a connection that has been used before, a reset may be its end between two requests: that is no try.
    reset = receipts.pop(server.origin + "/reset")
    assert (reset.outcome, reset.attempts <= 2) == ("fetched", True)
    tries = {url: (r.outcome, r.attempts) for url, r in receipts.items()}
    assert tries == dict.fromkeys(receipts, ("fetched", 2))


def test_what_is_not_tried_again(server, folder):
    kinds = dict.fromkeys([404, 410], "gone") | dict.fromkeys(
        [400, 401, 402, 403, 405, 406, 407, 409, 418, 451], "refused"
    )
    urls = {code: server.at(f"/{code}", h.status(code), h.serve(b"x")) for code in kinds}
    receipts = fetch(list(urls.values()), folder)
    assert {code: receipts[url].failure for code, url in urls.items()} == kinds
    assert {r.attempts for r in receipts.values()} == {1}
    assert {code: receipts[url].status for code, url in urls.items()} == {code: code for code in kinds}
    assert len(server.requests) == len(kinds)


def test_tries_come_to_an_end(server, folder):
    urls = [server.at(f"/{n}", h.status(503)) for n in range(3)]
    receipts = fetch(urls, folder, retries=1)
    assert {(r.failure, r.attempts, r.status) for r in receipts.values()} == {("busy", 2, 503)}
    assert len(server.requests) == 6


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_pauses_the_whole_host(server, other, folder, form):
    """From the answer on, nobody asks that host for anything; other hosts are asked."""
    said = {}

    def busy(visit):
        now = time.time()
        # A date has whole seconds: it is at least a second from now.
        after = "1" if form == "seconds" else formatdate(int(now) + 2, usegmt=True)
        said.setdefault("at", time.monotonic())
        said.setdefault("until", time.monotonic() + (1.0 if form == "seconds" else int(now) + 2 - now))
        visit.head(503, [("Retry-After", after), ("Content-Length", "0")])

    gate = h.serve(b"xx", rate=20)  # takes long enough for the pause to begin
    urls = [server.at("/busy", busy, h.serve(b"x"))]
    urls += [server.at(f"/{n}", gate) for n in range(60)]
    others = [other.at(f"/o{n}", h.serve(b"xx", rate=20)) for n in range(5)]
    receipts = fetch([*urls, *others], folder, per_host=4)
    assert all(r.ok for r in receipts.values())
    begun = [r.at_s for r in server.requests]
    # What had been sent already when the answer came is not called back.
    grace = 0.15
    assert not [t for t in begun if said["at"] + grace < t < said["until"] - 0.05]
    assert max(begun) > said["until"] - 0.05
    assert min(r.at_s for r in other.requests) < said["until"]


def test_retry_after_that_is_nonsense(server, folder):
    values = [
        "soon",
        "-5",
        "",
        "0",
        "1.5e9x",
        "Tue, 99 Foo 2024 99:99:99 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "\xb2",
    ]
    urls = [
        server.at(f"/{n}", h.status(503, [("Retry-After", v)]), h.serve(b"x")) for n, v in enumerate(values)
    ]
    started = time.monotonic()
    receipts = fetch(urls, folder)
    assert all(r.ok for r in receipts.values())
    assert time.monotonic() - started < 20


def test_retry_after_without_a_further_try_waits_for_nothing(server, folder):
    url = server.at("/a", h.status(429, [("Retry-After", "9" * 400)]))
    assert fetch_one(url, folder, retries=0).failure == "busy"


def test_mirrors_are_tried_in_turn(server, other, folder, noise):
    body = noise(10_000)
    good = other.at("/good", h.serve(body))
    firsts = {
        "gone": h.status(404),
        "busy": h.status(503),
        "cut": h.cut(h.whole(body), 5_000),
        "reset": h.refuse,
        "wrong": h.serve(bytes(10_000)),
        "loop": h.redirect("/loop"),
    }
    requests = [
        Request(server.at(f"/{n}", s), name=n, digests=digest(body), mirrors=(good,))
        for n, s in firsts.items()
    ]
    requests.append(
        Request("http://127.0.0.1:1/closed", name="closed", digests=digest(body), mirrors=(good,))
    )
    requests.append(
        Request("http://nosuchhost.invalid/x", name="nohost", digests=digest(body), mirrors=(good,))
    )
    receipts = fetch(requests, folder)
    assert {r.url: r.failure for r in receipts.values()} == {r.url: None for r in requests}
    assert {r.final_url for r in receipts.values()} == {good}
    only(folder, {r.name: body for r in requests})


def test_no_host_and_no_server(folder):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    urls = ["http://nosuchhost.invalid/a", f"http://127.0.0.1:{port}/b"]
    receipts = fetch(urls, folder, retries=0)
    assert [receipts[url].failure for url in urls] == ["nosuchhost", "unreachable"]


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "a",
            "/etc/passwd",
            "http://",
            "http:///x",
            "ht tp://x/",
            "http://[::1/x",
            "http://127.0.0.1:port/x",
        ),
        *("http://127.0.0.1:70000/x", "gopher://x/y", "javascript:1", "http://a b/", "http://x/\r\nX: y"),
        "http://\x00/",
    ],
)
def test_what_is_no_url(folder, url):
    try:
        receipt = fetch_one(url, folder, retries=0)
    except ValueError:
        pass
    else:
        assert not receipt.ok
    assert not folder.exists() or files(folder) == {}


def test_characters_of_urls(server, folder):
    """What a browser takes is taken: blanks and letters are encoded, and a line end is not a way into the head."""
    server.under("/", h.serve(b"x"))
    for url in ["/caf\u00e9.txt", "/with blank.txt", "/%41?q=\u00e9#fragment", "/a?b#c"]:
        assert fetch_one(Request(server.origin + url, name="n"), folder, retries=0, overwrite=True).ok
    assert server.requests[0].target.lower() == "/caf%c3%a9.txt"
    assert all(" " not in r.target and "#" not in r.target for r in server.requests)


def test_headers_that_would_be_two(server, folder):
    server.under("/", h.serve(b"x"))
    for headers in [{"X": "a\r\nEvil: 1"}, {"X\r\nEvil": "1"}, {"X": "a\nEvil: 1"}]:
        try:
            receipt = fetch_one(Request(server.origin + "/a", headers=headers), folder, retries=0)
        except ValueError:
            pass
        else:
            assert not receipt.ok
    assert all("evil" not in r.headers for r in server.requests)


# --- time -----------------------------------------------------------------------------------------------------


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_nothing_is_waited_for_without_end(server, servers, certificates, folder, noise):
    tls = servers(tls=certificates.good())  # and its client speaks first, and this one gets no answer:
    mute = socket.create_server(("127.0.0.1", 0))
    body = noise(400_000)
    urls = {
        "silent": server.at("/silent", h.silent),
        "slow body": server.at("/slow", h.trickle(body, every_s=0.02)),
        "stalled body": server.at("/stalled", h.serve(body, stop_at=300_000, then="stall")),
        "slow chunks": server.at("/chunks", slowly(CHUNKED, b"1\r\nx\r\n")),
        "slow chunk sizes": server.at("/sizes", slowly(CHUNKED, b"0")),
        "slow head": server.at("/head", slowly(b"HTTP/1.1 200 OK\r\nX: ", b"x")),
        "slow headers": server.at("/headers", slowly(b"HTTP/1.1 200 OK\r\n", b"X: x\r\n")),
        "slow status": server.at("/status", slowly(b"HTTP/1.1 200 ", b"O")),
        "slow 100": server.at("/100", slowly(b"", h.head("100 Continue"))),
        "mute TLS": f"https://127.0.0.1:{mute.getsockname()[1]}/x",
    }
    started = time.monotonic()
    receipts = fetch(
        list(urls.values()),
        folder,
        retries=0,
        connect_s=0.5,
        first_byte_s=0.5,
        stall_s=0.5,
        stall_bytes=5_000,
        ca_bundle=certificates.bundle,
    )
    took = time.monotonic() - started
    mute.close()
    kinds = {what: receipts[url].failure for what, url in urls.items()}
    assert kinds.pop("slow 100") in {
        "timedout",
        "broken",
    }  # after so many, nobody waits for the time to be over
    assert kinds == dict.fromkeys(kinds, "timedout")
    assert finished(folder) == {}
    assert took < 15
    assert not tls.requests


def slowly(before, piece, every_s=0.02):
    def script(visit):
        visit.raw(before)
        while True:
            visit.raw(piece)
            visit.pause(every_s)

    return script


def test_what_is_slow_and_goes_on_is_waited_for(server, folder, noise):
    body = noise(30_000)
    url = server.at("/a", h.serve(body, rate=20_000))
    assert fetch_one(url, folder, retries=0, stall_s=0.5, stall_bytes=2_000).ok


def test_rate(server, folder, noise):
    urls = [server.at(f"/{n}", h.serve(noise(400_000, seed=n))) for n in range(4)]
    started = time.monotonic()
    receipts = fetch(urls, folder, rate=1_000_000)
    took = time.monotonic() - started
    assert all(r.ok for r in receipts.values())
    # 1.6 MB at 1 MB/s, of which a burst may come at once.
    assert took > 0.6


def test_limits(server, other, folder):
    urls = [server.at(f"/{n}", h.serve(b"x" * 20, rate=400)) for n in range(24)]
    more = [other.at(f"/o{n}", h.serve(b"x" * 20, rate=400)) for n in range(24)]
    assert all(r.ok for r in fetch([*urls, *more], folder, per_host=3).values())
    assert server.busiest <= 3
    assert other.busiest <= 3
    before = server.busiest
    server.busiest = 0
    assert all(r.ok for r in fetch(urls, folder, most=1, overwrite=True).values())
    assert (before, server.busiest) == (before, 1)
    assert server.connections <= 12, "connections are used again"


def test_connections_that_end_between_requests(server, folder):
    urls = [server.at(f"/{n}", h.then_close(h.serve(b"x"))) for n in range(20)]
    receipts = fetch(urls, folder, most=2, retries=0)
    assert {(r.outcome, r.attempts) for r in receipts.values()} == {("fetched", 1)}


# --- addresses ------------------------------------------------------------------------------------------------


def test_private_addresses_are_refused(server, folder):
    server.under("/", h.serve(b"x"))
    port = server.port
    hosts = [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
    ]
    hosts += [
        "0.0.0.0",
        "[::]",
        "10.0.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "[fe80::1]",
        "[fc00::1]",
        "100.64.0.1",
    ]
    hosts += ["[64:ff9b::7f00:1]", "[2002:7f00:1::]", "127.0.0.1.", "localhost."]
    urls = [f"http://{host}:{port}/{n}" for n, host in enumerate(hosts)]
    receipts = fetch(urls, folder, private=False, retries=0, connect_s=2)
    kinds = {host: receipts[url].failure for host, url in zip(hosts, urls, strict=True)}
    assert {host: kind for host, kind in kinds.items() if kind not in {"unsafe", "nosuchhost"}} == {}
    assert kinds["127.0.0.1"] == kinds["localhost"] == kinds["[::1]"] == kinds["169.254.169.254"] == "unsafe"
    assert server.connections == 0


def names_by(monkeypatch, ask):
    """Names are looked up by that, in place of `socket.getaddrinfo`."""
    from whichpool.downloads import http, resolve

    monkeypatch.setattr(http, "Resolver", lambda: resolve.Resolver(ask=ask))


def test_private_addresses_are_those_of_the_connection(server, folder, monkeypatch):
    """A name that is public when it is asked for, and private when it is connected to."""
    server.under("/", h.serve(b"x"))
    real, asked = socket.getaddrinfo, []

    def rebinding(host, *args, **kwargs):
        if host not in ("rebind.example", b"rebind.example"):
            return real(host, *args, **kwargs)
        asked.append(host)
        address = "192.0.2.1" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, server.port))]

    names_by(monkeypatch, rebinding)
    urls = [f"http://rebind.example:{server.port}/{n}" for n in range(3)]
    fetch(urls, folder, private=False, retries=1, connect_s=0.3)
    assert asked
    assert server.connections == 0


def test_a_redirect_to_a_private_address_is_refused(server, other, folder, monkeypatch):
    """127.0.0.2 stands for the public host that leads to 127.0.0.1, by address and by name."""
    from whichpool.downloads import connect, resolve

    for module in (connect, resolve):
        real = module.is_public
        monkeypatch.setattr(
            module, "is_public", lambda address, real=real: address == "127.0.0.2" or real(address)
        )
    server.under("/", h.serve(b"x"))
    urls = [
        other.at("/number", h.redirect(f"http://127.0.0.1:{server.port}/a")),
        other.at("/name", h.redirect(f"http://localhost:{server.port}/a")),
        other.at("/good", h.serve(b"x")),
    ]
    receipts = fetch(urls, folder, private=False, retries=0)
    assert [receipts[url].failure for url in urls] == ["unsafe", "unsafe", None]
    assert server.connections == 0


def test_a_name_is_asked_for_once(server, folder, monkeypatch):
    server.under("/", h.then_close(h.serve(b"x")))  # a connection for each
    real, asked = socket.getaddrinfo, []

    def counting(host, *args, **kwargs):
        asked.append(host)
        return real("127.0.0.1" if host in ("mole.example", b"mole.example") else host, *args, **kwargs)

    names_by(monkeypatch, counting)
    urls = [f"http://mole.example:{server.port}/{n}" for n in range(40)]
    assert all(r.ok for r in fetch(urls, folder, most=8).values())
    assert server.connections == 40
    assert len(asked) <= 2


# --- TLS ------------------------------------------------------------------------------------------------------


def test_tls(servers, certificates, folder):
    good = servers(tls=certificates.good())
    url = good.at("/a", h.serve(b"secret"))
    assert fetch_one(url, folder, ca_bundle=certificates.bundle, retries=0).ok
    only(folder, {"a": b"secret"})


@pytest.mark.parametrize("what", ["wrong_name", "expired", "self_signed"])
def test_certificates_that_are_not_to_be_trusted(servers, certificates, folder, what):
    bad = servers(tls=getattr(certificates, what)())
    url = bad.at("/a", h.serve(b"secret"))
    receipt = fetch_one(url, folder, ca_bundle=certificates.bundle)
    assert (receipt.failure, receipt.attempts) == ("nottrusted", 1)
    assert bad.requests == []
    good = servers(tls=certificates.good())
    url = good.at("/a", h.serve(b"secret"))
    assert fetch_one(url, folder).failure == "nottrusted", "the certificates is not one of the system's"


def test_a_redirect_to_a_certificate_that_is_not_to_be_trusted(server, servers, certificates, folder):
    bad = servers(tls=certificates.wrong_name())
    url = server.at("/a", h.redirect(bad.at("/a", h.serve(b"x"))))
    assert fetch_one(url, folder, ca_bundle=certificates.bundle).failure == "nottrusted"


def test_tls_that_is_none_and_the_other_way_round(server, servers, certificates, folder):
    tls = servers(tls=certificates.good())
    plain = server.at("/a", h.serve(b"x")).replace("http:", "https:")
    wrong = tls.at("/a", h.serve(b"x")).replace("https:", "http:")
    receipts = fetch([plain, wrong], folder, ca_bundle=certificates.bundle, retries=0)
    assert receipts[plain].failure in {"unreachable", "broken", "nottrusted"}
    assert receipts[wrong].failure == "broken"


def test_a_client_certificate(servers, certificates, folder):
    strict = servers(tls=certificates.good(asks=True))
    url = strict.at("/a", h.serve(b"x"))
    receipt = fetch_one(url, folder, ca_bundle=certificates.bundle)
    assert (receipt.failure, receipt.attempts) == ("refused", 1), "to ask again is no use"
    assert "certificate required" in receipt.message
    assert fetch_one(
        url, folder, ca_bundle=certificates.bundle, client_cert=(certificates.client, None), retries=0
    ).ok


def test_tls_cut_in_the_middle(servers, certificates, folder, noise):
    body = noise(500_000)
    tls = servers(tls=certificates.good())
    answers = {n: h.serve(body, stop_at=400_000, then=n) for n in ("reset", "close")}
    answers["no length"] = h.raw(
        h.head(200) + body[:400_000]
    )  # without TLS's own end: somebody may have cut it
    urls = [tls.at(f"/{n.replace(' ', '-')}", s) for n, s in answers.items()]
    receipts = fetch(urls, folder, ca_bundle=certificates.bundle, retries=0)
    assert {u: r.failure for u, r in receipts.items()} == dict.fromkeys(urls, "broken")
    assert finished(folder) == {}


# --- proxies, files -------------------------------------------------------------------------------------------


def test_proxies(server, servers, folder, monkeypatch):
    proxy = servers()
    target = server.at("/a", h.serve(b"direct"))
    proxy.at("http://somewhere.example/x", h.serve(b"by proxy"))
    proxy.at(target, h.serve(b"by proxy"))
    asked = "http://somewhere.example/x"
    monkeypatch.setenv("http_proxy", proxy.origin.replace("//", f"//mole:{SECRET}@"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    receipts = fetch([asked, target], folder, retries=0)
    assert finished(folder) == {"x": b"by proxy", "a": b"direct"}
    assert proxy.requests[0].headers["proxy-authorization"] == basic("mole", SECRET)
    assert "proxy-authorization" not in server.requests[0].headers
    no_leak(folder, receipts.values())
    monkeypatch.delenv("http_proxy")
    monkeypatch.delenv("no_proxy")
    assert fetch_one(target, folder, proxy=proxy.origin, overwrite=True, retries=0).ok
    assert finished(folder)["a"] == b"by proxy"


def test_a_proxy_that_is_not_there(server, folder):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    url = server.at("/a", h.serve(b"x"))
    receipt = fetch_one(url, folder, proxy=f"http://mole:{SECRET}@127.0.0.1:{port}", retries=0)
    assert receipt.failure == "unreachable"
    assert server.requests == []
    no_leak(folder, [receipt])


def test_files(tmp_path, folder, noise):
    body = noise(300_000)
    (tmp_path / "a file").write_bytes(body)
    urls = [(tmp_path / "a file").as_uri(), (tmp_path / "none").as_uri(), tmp_path.as_uri()]
    receipts = fetch([Request(urls[0], digests=digest(body)), *urls[1:]], folder, retries=0)
    assert receipts[urls[0]].ok
    assert receipts[urls[1]].failure == "gone"
    assert not receipts[urls[2]].ok
    only(folder, {"a file": body})
