"""Credentials: where they are taken from, to whom they go, and that no text has them."""

from __future__ import annotations

import base64

import pytest

from whichpool.downloads import secrets
from whichpool.downloads.records import Settings
from whichpool.downloads.secrets import (
    Cookies,
    Secrets,
    basic,
    checked_headers,
    harmless,
    split_credentials,
    without_credentials,
)


def opened(header):
    return base64.b64decode(header.removeprefix("Basic ")).decode()


@pytest.mark.parametrize(
    ("url", "bare", "user"),
    [
        ("http://a/b?c#d", "http://a/b?c#d", None),
        ("http://u:p@a/b", "http://a/b", ("u", "p")),
        ("https://u@a:80/", "https://a:80/", ("u", "")),
        ("ftp://u%40x:p%3A%2F@a/", "ftp://a/", ("u@x", "p:/")),
        ("http://u:p@x@a/", "http://a/", ("u", "p@x")),
        ("http://a/b@c", "http://a/b@c", None),
        ("http://a?x=u:p@b", "http://a?x=u:p@b", None),
        ("//u:p@a/", "//a/", ("u", "p")),
        ("nonsense", "nonsense", None),
        ("", "", None),
    ],
)
def test_split(url, bare, user):
    assert split_credentials(url) == (bare, user)
    assert without_credentials(url) == bare


@pytest.mark.parametrize(
    "url", ["http:\\\\u:sesame@a/", "http:///u:sesame@a/", " http://u:sesame@a", "HTTP://u:\nsesame@a"]
)
def test_odd_urls_show_nothing(url):
    assert "sesame" not in without_credentials(url)


def test_harmless():
    secret = {"X-Api-Key": "k", "COOKIE": "c", "authorization": "b", "Proxy-Authorization": "p"}
    assert harmless({"Accept": "a", **secret, "User-Agent": "u"}) == {"Accept": "a", "User-Agent": "u"}


@pytest.mark.parametrize("value", ["sesame\r\nB: c", "sesame\n", "sesame\0", "sesame\u20ac"])
def test_a_header_that_cannot_be_sent_is_not_shown(value):
    with pytest.raises(ValueError, match="header A") as caught:
        checked_headers({"A": value})
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "A B", "A:", "A\n"])
def test_a_header_with_no_name(name):
    with pytest.raises(ValueError, match="no name"):
        checked_headers({name: "x"})


# --- netrc --------------------------------------------------------------------------------------------------


@pytest.fixture
def netrc(tmp_path, monkeypatch):
    def write(text):
        path = tmp_path / "netrc"
        path.write_text(text)
        path.chmod(0o600)
        monkeypatch.setenv("NETRC", str(path))
        return path

    return write


def test_netrc_of_the_environment(netrc):
    netrc("machine a.test login joe password pw\n")
    found = Secrets(Settings())
    assert opened(found.authorization("a.test", redirected=False)) == "joe:pw"
    assert opened(found.authorization("A.TEST", redirected=True)) == "joe:pw"
    assert found.authorization("b.test", redirected=False) is None
    assert not found.netrc_trouble


def test_default_and_the_settings_user_are_for_no_host_that_a_server_named(netrc):
    netrc("default login joe password pw\n")
    found = Secrets(Settings())
    assert opened(found.authorization("a.test", redirected=False)) == "joe:pw"
    assert found.authorization("a.test", redirected=True) is None
    found = Secrets(Settings(user=("ann", "äö")))
    assert found.authorization("a.test", redirected=True) is None


def test_netrc_comes_before_the_settings_user(netrc):
    netrc("machine a.test login joe password pw\n")
    found = Secrets(Settings(user=("ann", "äö")))
    assert opened(found.authorization("a.test", redirected=False)) == "joe:pw"
    assert opened(found.authorization("b.test", redirected=False)) == "ann:äö"


def test_netrc_at_home(tmp_path, monkeypatch):
    monkeypatch.delenv("NETRC")
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / ".netrc"
    path.write_text("machine a.test login joe password pw\n")
    path.chmod(0o600)
    assert opened(Secrets(Settings()).authorization("a.test", redirected=False)) == "joe:pw"
    path.chmod(0o644)
    found = Secrets(Settings())
    assert found.authorization("a.test", redirected=False) is None
    assert "permissions" in found.netrc_trouble


def test_a_broken_netrc_is_told_without_what_is_in_it(netrc):
    path = netrc("machine a.test login joe pasword sesame\n")
    found = Secrets(Settings())
    assert found.authorization("a.test", redirected=False) is None
    assert str(path) in found.netrc_trouble
    assert "line 1" in found.netrc_trouble
    assert "sesame" not in found.netrc_trouble


def test_a_netrc_that_is_no_file(tmp_path, monkeypatch):
    monkeypatch.setenv("NETRC", str(tmp_path))
    assert "was not read" in Secrets(Settings()).netrc_trouble


def test_no_repr_has_them():
    assert "sesame" not in repr(Secrets(Settings(user=("u", "sesame"))))
    assert opened(basic("u", "sesame")) == "u:sesame"


# --- cookies ------------------------------------------------------------------------------------------------

JAR = """# Netscape HTTP Cookie File
.a.test\tTRUE\t/\tFALSE\t0\tsession\tone
b.test\tFALSE\t/only\tTRUE\t9999999999\tsafe\ttwo
c.test\tFALSE\t/\tFALSE\t1\told\tthree
"""


def test_cookies_go_where_the_file_says(tmp_path):
    path = tmp_path / "cookies.txt"
    path.write_text(JAR)
    jar = Cookies(path)
    assert jar.header("http://www.a.test/x") == "session=one"
    assert jar.header("https://b.test/only/this") == "safe=two"
    assert jar.header("https://b.test/other") is None
    assert jar.header("http://b.test/only/this") is None
    assert jar.header("http://c.test/") is None
    assert "one" not in repr(jar)


def test_a_file_that_is_none_is_not_shown(tmp_path):
    path = tmp_path / "cookies.txt"
    path.write_text("sesame\n")
    with pytest.raises(ValueError, match="Netscape") as caught:
        Cookies(path)
    assert "sesame" not in str(caught.value)
    assert caught.value.__cause__ is None
    with pytest.raises(OSError, match="nothing"):
        Cookies(tmp_path / "nothing")


def test_cookies_that_a_server_sets(monkeypatch):
    jar = Cookies(None)
    assert jar.header("http://a.test/") is None
    told = [("Set-Cookie", "x=1; Path=/deep"), ("set-cookie", "y=2; Domain=other.test"), ("X", "y")]
    jar.take("http://a.test/deep/er", told)
    assert jar.header("http://a.test/deep/") == "x=1"
    assert jar.header("http://a.test/") is None
    assert jar.header("http://other.test/deep/") is None


def test_a_server_cannot_fill_the_memory(monkeypatch):
    monkeypatch.setattr(secrets, "MOST_COOKIES", 20)
    monkeypatch.setattr(secrets, "LOOK_EVERY", 5)
    jar = Cookies(None)
    for number in range(100):
        jar.take("http://a.test/", [("Set-Cookie", f"x{number}=1")])
    assert 20 < len(jar._jar) <= 25
