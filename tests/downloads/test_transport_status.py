"""What a status is: which failure, whether again, and when."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from whichpool.downloads.failures import Broken, Busy, Gone, Refused


@pytest.mark.parametrize(
    ("kind", "again", "statuses"),
    [
        (Gone, False, (404, 410)),
        (Refused, False, (400, 401, 402, 403, 405, 406, 407, 411, 412, 418, 421, 451, 499)),
        (Busy, True, (202, 408, 425, 429, 500, 501, 502, 503, 504, 507, 520, 599)),
        (Broken, False, (201, 203, 204, 205, 207, 226)),
    ],
)
def test_status(serve, transport, kind, again, statuses):
    server = serve(
        lambda peer: peer.answer(
            f"{peer.request.target[1:]} Some Reason", b"" if "204" in peer.request.target else b"why"
        )
    )
    mine = transport()
    for status in statuses:
        with pytest.raises(kind, match=f"{status} Some Reason") as caught:
            mine.open(server.url(f"/{status}", user="joe:sesame@"))
        assert type(caught.value) is kind
        assert (caught.value.status, caught.value.again) == (status, again)
        assert caught.value.url == server.url(f"/{status}")
        assert caught.value.retry_after_s is None


RETRY_AFTER = (
    ("0", 0),
    ("7", 7),
    (" 7 ", 7),
    ("3600", 3600),
    ("86400", 3600),
    ("999999999999999999", 3600),
    ("-7", None),
    ("7.5", None),
    ("soon", None),
    ("", None),
    ("9" * 5000, None),
    ("Tue, 24 Nov 2026 12:00:30 GMT", 30),
    ("Tue, 24 Nov 2026 11:00:00 GMT", 0),
    ("Tuesday, 24-Nov-26 12:00:30 GMT", 30),
    ("Wed, 24 Nov 2027 12:00:00 GMT", 3600),
    ("Tue, 99 Nov 2026 12:00:30 GMT", None),
    ("Tue, 24 Nov 9999999 12:00:30 GMT", None),
)


def test_retry_after(serve, transport):
    """A date is compared with the server's own clock."""

    def answer(peer):
        peer.answer(
            "429 Slow",
            retry_after=RETRY_AFTER[int(peer.request.target[1:])][0],
            date="Tue, 24 Nov 2026 12:00:00 GMT",
        )

    server = serve(answer)
    mine = transport()
    for at, (told, seconds) in enumerate(RETRY_AFTER):
        with pytest.raises(Busy) as caught:
            mine.open(server.url(f"/{at}"))
        assert caught.value.retry_after_s == seconds, told


def test_retry_after_a_date_without_the_servers_clock(serve, transport):
    server = serve(lambda peer: peer.answer("503 No", retry_after=formatdate(time.time() + 100, usegmt=True)))
    with pytest.raises(Busy) as caught:
        transport().open(server.url())
    assert 50 < caught.value.retry_after_s <= 101


def test_why_netrc_did_not_help(serve, transport, tmp_path, monkeypatch):
    path = tmp_path / "netrc"
    path.write_text("machine 127.0.0.1 login joe sesame\n")
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))
    with pytest.raises(Refused, match="netrc was not read: line") as caught:
        transport().open(serve(lambda peer: peer.answer("401 Who")).url())
    assert "sesame" not in str(caught.value)


def test_a_reason_is_no_novel(serve, transport):
    with pytest.raises(Refused) as caught:
        transport().open(serve(lambda peer: peer.answer("403 " + "no " * 1000)).url())
    assert len(str(caught.value)) < 300
