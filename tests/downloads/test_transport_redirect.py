"""Redirects: followed by hand, bounded, never in a circle, and what is secret stays with whom it was meant for."""

from __future__ import annotations

import base64

import pytest
from get_help import names, read

from whichpool.downloads.failures import BadRedirect
from whichpool.downloads.http import _same, target_of

BOTH = {"a_test": "127.0.0.1", "b_test": "127.0.0.1"}


def leading(**where):
    """A server's answers: a path (``_`` for ``/``) leads somewhere; others are there. ``{port}`` is its own."""

    def answer(peer):
        location = where.get(peer.request.target.partition("?")[0].strip("/"))
        if location is None:
            peer.answer(body=peer.request.target.encode())
        else:
            peer.answer("302 Found", b"moved", location=location.format(port=peer.server.port))

    return answer


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_followed(serve, transport, status, method):
    def answer(peer):
        if peer.request.target == "/from":
            peer.answer(f"{status} Go", b"" if method == "HEAD" else b"moved", location="/to")
        else:
            peer.answer(body=b"" if method == "HEAD" else b"here")

    server = serve(answer)
    with transport().open(server.url("/from"), method=method) as got:
        assert got.url == server.url("/to")
        assert read(got) == (b"" if method == "HEAD" else b"here")
    assert [(one.method, one.target) for one in server.requests] == [(method, "/from"), (method, "/to")]
    assert server.connections == 1


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("b", "/x/b"),
        ("/b", "/b"),
        ("../b", "/b"),
        ("?q", "/x/y?q"),
        ("//127.0.0.1:{port}/b", "/b"),
        ("/b#part", "/b"),
        ("/a b", "/a%20b"),
        ("/\xc3\xa4", "/%C3%A4"),
        ("HTTP://127.0.0.1:{port}/b", "/b"),
        ("/%7Eb", "/~b"),
    ],
)
def test_where_it_leads(serve, transport, location, target):
    def answer(peer):
        if peer.request.target == "/x/y":
            peer.answer("302 Found", location=location.format(port=peer.server.port))
        else:
            peer.answer()

    server = serve(answer)
    with transport().open(server.url("/x/y#fragment")):
        pass
    assert server.targets[1:] in ([target], ["/%7Eb"])


def test_ranges_and_conditions_go_along(serve, transport):
    server = serve(leading(old="/new"))
    with transport().open(server.url("/old"), first=5, if_range='"v"', if_none_match='"w"'):
        pass
    for at in (0, 1):
        assert [server.header(name, at) for name in ("Range", "If-Range", "If-None-Match")] == [
            "bytes=5-",
            '"v"',
            '"w"',
        ]


@pytest.mark.parametrize(
    ("location", "why"),
    [
        (None, "without a Location"),
        ("", "without a Location"),
        ("ftp://a/", "no http or https URL"),
        ("file:///etc/passwd", "no http or https URL"),
        ("javascript:alert(1)", "no http or https URL"),
        ("http://", "circle"),
        ("http://[::1/", "no http or https URL"),
        ("http://a:99999/", "no http or https URL"),
        ("http://a:0/", "no http or https URL"),
    ],
)
def test_not_followed(serve, transport, location, why):
    server = serve(lambda peer: peer.answer("302 Found", location=location))
    with pytest.raises(BadRedirect, match=why) as caught:
        transport().open(server.url("/x"))
    assert not caught.value.again
    assert caught.value.url == server.url("/x")


def test_too_many(serve, transport):
    server = serve(lambda peer: peer.answer("302 Found", location=peer.request.target + "x"))
    with pytest.raises(BadRedirect, match="more than 4 times"):
        transport(most_redirects=4).open(server.url())
    assert len(server.requests) == 5


def test_none_at_all(serve, transport):
    with pytest.raises(BadRedirect, match="more than 0 times"):
        transport(most_redirects=0).open(serve(leading(a="/b")).url("/a"))


def test_a_circle(serve, transport):
    server = serve(leading(a="/b#1", b="/a#2"))
    with pytest.raises(BadRedirect, match="circle"):
        transport().open(server.url("/a"))
    assert len(server.requests) == 2


def test_back_to_itself_with_a_cookie_is_no_circle(serve, transport):
    def answer(peer):
        if "cookie" in peer.request.headers:
            peer.answer(body=b"welcome")
        else:
            peer.answer("302 Found", location=peer.request.target, set_cookie="seen=1; Path=/")

    server = serve(answer)
    with transport(names(**BOTH)).open(server.url("/x", host="a.test")) as got:
        assert read(got) == b"welcome"
    assert server.header("cookie") == "seen=1"


def test_300_and_304_lead_nowhere(serve, transport):
    with pytest.raises(BadRedirect, match="300 Multiple") as caught:
        transport().open(serve(lambda peer: peer.answer("300 Multiple", location="/b")).url())
    assert caught.value.status == 300


# --- secrets ------------------------------------------------------------------------------------------------

SECRET = dict.fromkeys(("Authorization", "Cookie", "X-Api-Key", "Proxy-Authorization"), "sesame")


def test_headers_stay_with_their_origin(serve, transport):
    server = serve(
        leading(same="/there", other="http://b.test:{port}/there", back="http://a.test:{port}/other")
    )
    mine = transport(names(**BOTH), headers={"Private-Token": "sesame", "Accept-Language": "de"})
    with mine.open(server.url("/same", host="a.test"), {**SECRET, "Accept": "text/plain"}):
        pass
    for name in (*SECRET, "Private-Token"):
        assert "sesame" in server.header(name), name
    with mine.open(server.url("/other", host="a.test"), {**SECRET, "Accept": "text/plain"}):
        pass
    assert "sesame" in str(server.requests[-2])
    assert "sesame" not in str(server.requests[-1])
    assert (server.header("Accept"), server.header("Accept-Language")) == ("text/plain", "de")
    assert server.header("Host") == f"b.test:{server.port}"


def test_another_port_is_another_origin_and_there_is_no_way_back(serve, transport):
    two = serve(lambda peer: peer.answer("302 Found", location=f"http://a.test:{one.port}/end"))
    one = serve(leading(start=f"http://a.test:{two.port}/"))
    with transport(names(**BOTH)).open(one.url("/start", host="a.test", user="joe:sesame@"), SECRET) as got:
        assert read(got) == b"/end"
    assert "authorization" in one.requests[0].headers
    for headers in (two.requests[0].headers, one.requests[1].headers):
        assert not {name.lower() for name in SECRET} & set(headers)


def test_the_step_from_http_to_https_of_one_host_is_no_other_origin():
    def same(one, other):
        return _same(target_of(one), target_of(other))

    assert same("http://a.test/", "https://A.test/x")
    assert same("http://a.test:80/", "https://a.test:443/x")
    assert not same("https://a.test/", "http://a.test/")
    assert not same("http://a.test:8080/", "https://a.test/")
    assert not same("http://a.test/", "https://a.test:8443/")
    assert not same("http://a.test/", "https://b.test/")
    assert not same("http://a.test/", "http://www.a.test/")


def basic(text):
    return "Basic " + base64.b64encode(text.encode()).decode()


def test_a_password_of_the_url(serve, transport):
    server = serve(
        leading(same="/there", other="http://b.test:{port}/there", named="http://ann:pw@b.test:{port}/x")
    )
    mine = transport(names(**BOTH), user=("settings", "user"))
    with mine.open(server.url("/same", host="a.test", user="joe:se%40same@")) as got:
        assert got.url == server.url("/there", host="a.test")
    assert [server.header("authorization", at) for at in (0, 1)] == [basic("joe:se@same")] * 2
    with mine.open(server.url("/other", host="a.test", user="joe:sesame@")):
        pass
    assert [server.header("authorization", at) for at in (2, 3)] == [basic("joe:sesame"), None]
    with mine.open(server.url("/named", host="a.test", user="joe:sesame@")) as got:
        assert "ann" not in got.url + repr(got)
    assert server.header("authorization") == basic("ann:pw")
    assert server.header("host") == f"b.test:{server.port}"


def test_netrc_and_the_settings_user(serve, transport, tmp_path, monkeypatch):
    path = tmp_path / "netrc"
    path.write_text("machine b.test login joe password pw\n")
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))
    server = serve(leading(tob="http://b.test:{port}/x", toa="http://a.test:{port}/x"))
    mine = transport(names(**BOTH), user=("settings", "user"))
    with mine.open(server.url("/tob", host="a.test")):
        pass
    assert [server.header("authorization", at) for at in (0, 1)] == [basic("settings:user"), basic("joe:pw")]
    with mine.open(server.url("/toa", host="b.test")):
        pass
    assert [server.header("authorization", at) for at in (2, 3)] == [basic("joe:pw"), None]
    with mine.open(server.url("/x", host="b.test"), {"authorization": "Bearer x"}):
        pass
    assert server.header("authorization") == "Bearer x"


def test_cookies_go_by_their_own_rules(serve, transport):
    def answer(peer):
        if peer.request.target == "/set":
            peer.answer("302 Found", set_cookie="id=sesame", location=f"http://b.test:{peer.server.port}/x")
        else:
            peer.answer()

    server = serve(answer)
    mine = transport(names(**BOTH))
    with mine.open(server.url("/set", host="a.test")):
        pass
    assert server.header("cookie") is None
    with mine.open(server.url("/x", host="a.test")):
        pass
    assert server.header("cookie") == "id=sesame"


def test_no_failure_shows_a_password(serve, transport):
    server = serve(lambda peer: peer.answer("302 Found", location="http://ann:sesame@b.test:1/"))
    for url in (
        server.url(host="a.test", user="joe:sesame@"),
        "http://joe:sesame@[/",
        "nonsense://joe:sesame@x/",
        "http://joe:sesame@",
    ):
        with pytest.raises(Exception) as caught:  # of whatever class
            transport(names(**BOTH)).open(url, {"Authorization": "sesame"})
        shown = f"{caught.value!s} {caught.value!r} {vars(caught.value)} {caught.value.__cause__!r}"
        assert "sesame" not in shown
        assert "joe" not in shown


def test_headers_that_are_not_the_users(serve, transport):
    server = serve(lambda peer: peer.answer())
    wrong = {
        "accept-encoding": "gzip",
        "range": "bytes=1-",
        "content-length": "5",
        "transfer-encoding": "chunked",
    }
    with transport(headers=wrong).open(server.url(), {**wrong, "user-agent": "mine", "HOST": "c.test"}):
        pass
    assert server.requests[0].headers == {
        "accept": "*/*",
        "accept-encoding": "identity",
        "user-agent": "mine",
        "host": "c.test",
    }


def test_a_header_with_a_line_break(serve, transport):
    with pytest.raises(ValueError, match="line break"):
        transport(headers={"A": "b\r\nC: d"})
    with pytest.raises(Exception, match="line break"):
        transport().open("http://a.test/", {"A": "b\r\nC: d"})
