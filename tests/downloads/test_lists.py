"""What is asked for: lists, records and URLs as people write them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whichpool.downloads.lists import BadEntry, as_request, requests_from
from whichpool.downloads.records import Request
from whichpool.downloads.urls import clean_url

SHA256 = hashlib.sha256(b"").hexdigest()
U = "https://example.org/"


def listed(text: str) -> list[Request]:
    return list(requests_from(text.splitlines(keepends=True)))


def test_a_plain_list() -> None:
    text = f"\ufeff# what we want\r\n{U}a\r\n\r\n  \r\n{U}b#part\r\n  # more\r\n  {U}c?x=1  \r\nfile:///d"
    assert [request.url for request in listed(text)] == [U + "a", U + "b", U + "c?x=1", "file:///d"]


def test_aria2s_format() -> None:
    text = (
        f"{U}a\thttps://mirror.example/a\t\n"
        "  out=images/a.iso\n"
        "\n"
        " # between\n"
        f"\tchecksum=sha-256={SHA256.upper()}\n"
        "  header=X-One: 1\n"
        "  header=X-Two: a=b: c\n"
        "  header=x-one: 2\n"
        "  header=Cookie: a=1\n"
        "  header=Cookie: b=2\n"
        "  referer=*\n"
        "  user-agent=me/1.0\n"
        "  split=5\n"
        "  gid=0123456789abcdef\n"
        f"{U}b\n"
        "  dir=sub\n"
        f"{U}c\n"
        "  dir=./sub/deep/\n"
        "  out=d\n"
        f"{U}d\n"
        "  dir=.\n"
    )
    a, b, c, d = listed(text)
    assert a == Request(
        U + "a",
        "images/a.iso",
        {"sha256": SHA256},
        ("https://mirror.example/a",),
        {
            "X-One": "1, 2",
            "X-Two": "a=b: c",
            "Cookie": "a=1; b=2",
            "Referer": U + "a",
            "User-Agent": "me/1.0",
        },
    )
    assert (b.name, c.name, d.name) == ("sub/b", "sub/deep/d", None)


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("example.org/a", 1, "has no scheme: write https://example.org/a"),
        (f"{U}a\nlocalhost:8000/x", 2, "write https://localhost:8000/x"),
        (f"{U}a\n\n\nnonsense", 4, "one begins with https://"),
        ("  out=x", 1, "there is none"),
        (f"{U}a\n  ouT=x", 2, "is 'out' meant"),
        (f"{U}a\n  nonsense=x", 2, "known are out, dir, checksum, header"),
        (f"{U}a\n  out", 2, "looks like out=NAME"),
        (f"{U}a\n  out=../x", 2, "leaves the folder"),
        (f"{U}a\n  dir=/data", 2, "says -d"),
        (f"{U}a\n  dir=..", 2, "says -d"),
        (f"{U}a\n  checksum=sha-256=00", 2, "2 digits, not 64"),
        (f"{U}a\n  header=Range: bytes=0-1", 2, "would change which bytes"),
        (f"{U}a\n  header=no colon", 2, "looks like"),
        (f"{U}a\n  http-passwd=secret", 2, "--user"),
        (f"{U}a\n  checksum=md5", 2, "no checksum"),
        (f"{U}a\thttps://\n", 1, "names no host"),
    ],
)
def test_errors_name_the_line(text: str, line: int, why: str) -> None:
    with pytest.raises(BadEntry, match=why) as caught:
        listed(text)
    assert caught.value.line == line
    assert f"the list, line {line}: " in str(caught.value)
    assert "secret" not in str(caught.value)


def test_bad_entries_can_be_left_out() -> None:
    errors: list[BadEntry] = []
    lines = ["nonsense", "  out=x", f"{U}a", "  out=/x", "  out=y", f"{U}b", "  out=z"]
    found = list(requests_from(lines, source="urls.txt", on_bad=errors.append))
    assert found == [Request(U + "b", "z")]
    assert [error.line for error in errors] == [1, 4]
    assert str(errors[0]).startswith("urls.txt, line 1: ")


def test_lists_are_read_as_they_are_asked_for() -> None:
    read = 0

    def lines() -> Iterator[str]:
        nonlocal read
        for number in range(100_000):
            read += 1
            yield f"{U}{number}\n"

    requests = requests_from(lines())
    assert next(requests).url == U + "0"
    assert read == 2
    assert sum(1 for _ in zip(requests, range(1000), strict=False)) == 1000
    assert read < 1005


@settings(max_examples=100)
@given(st.lists(st.text(st.sampled_from(" \t#=:/\\.%aé") | st.characters(), max_size=30), max_size=6))
def test_no_list_breaks_it(lines: list[str]) -> None:
    errors: list[BadEntry] = []
    for start in ("", U + "x", "http://"):
        for request in requests_from(
            [start, *(f"{U}{line}" for line in lines), *lines], on_bad=errors.append
        ):
            assert clean_url(request.url) == request.url


# --- records -------------------------------------------------------------------------------------------------


def test_records() -> None:
    assert as_request(U + "a b") == Request(U + "a%20b")
    assert as_request({"url": U}) == Request(U)
    full = {
        "url": U + "a", "name": "x\\y", "sha256": SHA256.upper(), "digests": {"MD5": "0" * 32},
        "mirrors": ["https://m.example"], "headers": {"X": "1"},
    }  # fmt: skip
    request = as_request(full)
    assert request == Request(
        U + "a", "x/y", {"md5": "0" * 32, "sha256": SHA256}, ("https://m.example/",), {"X": "1"}
    )
    assert as_request(request) == request
    assert as_request({"url": U, "mirrors": "https://m.example/", "name": None}).mirrors == (
        "https://m.example/",
    )


@pytest.mark.parametrize(
    ("thing", "error", "why"),
    [
        ({"url": U, "sha265": ""}, ValueError, "is 'sha256' meant"),
        ({"url": U, "zzz": ""}, ValueError, "it may have url, name"),
        ({"name": "x"}, ValueError, "needs a 'url'"),
        ({"url": 3}, TypeError, "'url' is text, not int"),
        ({"url": U, "name": 3}, TypeError, "'name' is text"),
        ({"url": U, "name": "../x"}, ValueError, "leaves the folder"),
        ({"url": U, "sha256": "00"}, ValueError, "not 64"),
        ({"url": U, "headers": ["a"]}, TypeError, "'headers' is a mapping of texts"),
        ({"url": U, "headers": {"a b": "1"}}, ValueError, "looks like"),
        ({"url": U, "headers": {"a": "1\r\nX: 2"}}, ValueError, "control character"),
        ({"url": U, "headers": {"a": "€"}}, ValueError, "no header can have"),
        ({"url": U, "headers": {"Accept-Encoding": "gzip"}}, ValueError, "sets it itself"),
        ({"url": U, "digests": {"nope": "00"}}, ValueError, "not known"),
        (Request("nonsense"), ValueError, "is no URL"),
        (3, TypeError, "not int"),
        (b"https://example.org", TypeError, "not bytes"),
    ],
)
def test_records_that_cannot_be(thing: object, error: type[Exception], why: str) -> None:
    with pytest.raises(error, match=why):
        as_request(thing)  # type: ignore[arg-type]


# --- URLs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("https://example.org", "https://example.org/"),
        (" HTTP://EXAMPLE.org:8080/A%20b%zz \n", "http://example.org:8080/A%20b%zz"),
        (
            "https://example.org/ü/a b?q=ü x&r='\"#frag",
            "https://example.org/%C3%BC/a%20b?q=%C3%BC%20x&r=%27%22",
        ),
        ("https:\\\\example.org\\a", "https://example.org/a"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://straße.example/", "https://xn--strae-oqa.example/"),
        ("https://例え。テスト/", "https://xn--r8jz45g.xn--zckzah/"),
        ("https://me:p%40ss@example.org/", "https://me:p%40ss@example.org/"),
        ("https://mé:x@example.org/", "https://m%C3%A9:x@example.org/"),
        ("http://[::1]:80/x", "http://[::1]:80/x"),
        ("file:/tmp/a b", "file:///tmp/a%20b"),
        ("file:///tmp/%41", "file:///tmp/%41"),
        ("s3://bucket/a b#1", "s3://bucket/a b#1"),
        ("https://example.org/?a=b?c", "https://example.org/?a=b?c"),
    ],
)
def test_urls_as_browsers_send_them(url: str, clean: str) -> None:
    assert clean_url(url) == clean
    assert clean_url(clean) == clean


def test_bytes_that_are_not_utf_8_are_sent_as_they_are_and_are_latin_1_in_names() -> None:
    lines = (
        b"http://jos\xe9:\xfc@a.example/caf\xe9/\xc3\xa9?q=\xe9\thttp://b.example/\xe9\n"
        b"  out=\xe9t\xe9/\xc3\xa9.txt\n  header=X-Name: \xe9\n"
        b"http://\xe9.example/x\n"
        b"s3://bucket/\xe9\n"
        b"\xe9\n"
        b"http://a.example/last\n"
    )
    told: list[BadEntry] = []
    text = lines.decode("utf-8", "surrogateescape").splitlines()
    first, last = requests_from(text, on_bad=told.append)
    assert first.urls == ("http://jos%E9:%FC@a.example/caf%E9/%C3%A9?q=%E9", "http://b.example/%E9")
    assert (first.name, first.headers) == ("été/é.txt", {"X-Name": "é"})
    assert last.url == "http://a.example/last"
    assert [error.line for error in told] == [4, 5, 6]
    assert "line 4: 'http://é.example/x' is no URL: its host is not UTF-8" in str(told[0])
    assert "not UTF-8, and none are sent for s3://" in str(told[1])


@pytest.mark.parametrize("coding", ["utf-16-le", "utf-16-be"])
def test_a_list_in_utf_16_is_one_error(coding: str) -> None:
    lines = "\ufeffhttp://a.example/x\nhttp://a.example/y\n".encode(coding).decode("utf-8", "surrogateescape")
    told: list[BadEntry] = []
    assert list(requests_from(lines.splitlines(), on_bad=told.append)) == []
    assert [str(error) for error in told] == [
        "the list, line 1: this is UTF-16: save it as UTF-8. None of it is read"
    ]


@pytest.mark.parametrize(
    "url",
    ["", "  ", "x", "//example.org/x", "http:/x", "https:///x", "https://user@/x", "http://example.org:port/",
     "http://example.org:99999/", "http://example.org:0/", "http://a b/", "http://a\nb/", "http://[::1/", "http://ex℀mple.org/",
     "http://" + "ü" * 70, "/etc/passwd", "C:\\x", "urls.txt", "mailto:x@example.org", "http://a%2fb/"],
)  # fmt: skip
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|scheme|control|host"):
        clean_url(url)


@settings(max_examples=200)
@given(st.text(st.sampled_from("ab.-:/?%@é=&;'\"[]0189 #A_~"), max_size=20))
def test_what_is_clean_already_is_rightly_left_as_it_is(text: str) -> None:
    def cleaned() -> str | None:
        try:
            return clean_url(f"https://{text}")
        except ValueError:
            return None

    quick = cleaned()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("whichpool.downloads.urls._CLEAN", re.compile("(?!)"))
        assert cleaned() == quick


def test_errors_show_no_password() -> None:
    with pytest.raises(ValueError, match="control") as caught:
        clean_url("https://me:secret@example.org/\x01")
    assert "secret" not in str(caught.value)
    with pytest.raises(ValueError, match="has no scheme") as caught:
        clean_url("//me:secret@example.org/")
    assert "secret" not in str(caught.value)
