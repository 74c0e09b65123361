"""Whose limit a URL counts against, and when a try has come further."""

import tracemalloc
from hashlib import sha256

import pytest

from whichpool.downloads.failures import Gone
from whichpool.downloads.jobs import FURTHER_BYTES, Job, host_of
from whichpool.downloads.records import Request


@pytest.mark.parametrize(
    ("host", "urls"),
    [
        (
            "a.example",
            ["http://a.example/x", "http://a.example:80/", "HTTP://A.example/", "http://a.example./"],
        ),
        ("a.example", ["https://a.example:443/x", "https://joe:pw@A.EXAMPLE.:443?q", "http://a.example"]),
        ("a.example:443", ["http://a.example:443/x", "http://a.example.:443/x"]),
        ("a.example:8080", ["http://a.example:8080/x", "https://u@a.example.:8080/x"]),
        ("[::1]", ["http://[::1]/", "http://[::1]:80/x"]),
        ("[::1]:8080", ["http://[::1]:8080/x"]),
        ("bucket", ["s3://bucket/key"]),
        ("a.example", ["ftp://a.example:21/x"]),
        ("file", ["file:///tmp/x"]),
    ],
)
def test_a_host_is_one_host_however_it_is_written(host, urls):
    assert {host_of(url) for url in urls} == {host}


def test_what_is_further():
    job = Job(0, Request("http://a.example/x"), "x", "x")
    step = FURTHER_BYTES
    sizes = [500, 499 + step, 500 + step, 500 + step, 0, 499 + 2 * step, 500 + 2 * step]
    assert [job.came("v1", size) for size in sizes] == [False, False, True, False, False, False, True]
    assert [job.came("v2", size) for size in (9 * step, 10 * step)] == [False, True], "another version"


def test_receipts_that_are_kept_are_light():
    """`download` gives all of them: what files, servers and moments have in common is there once."""
    requests = [Request(f"http://a.example/{number:06}.bin") for number in range(1_000)]
    for least, most, fetched in ((300, 500, True), (200, 350, False)):
        tracemalloc.start()
        try:
            receipts = []
            for number, request in enumerate(requests):
                job = Job(number, request, f"{number:06}.bin", f"{number:06}.bin")
                job.begin()
                if fetched:
                    digests = {"sha256": sha256(b"%d" % number).hexdigest()}
                    receipts.append(job.receipt("fetched", path=job.name, bytes=1, digests=digests))
                else:
                    failure = Gone(f"the server has no such thing: {400 + 4} Not Found", status=int("404"))
                    receipts.append(job.failure(failure))
            traced = tracemalloc.get_traced_memory()[0] / len(receipts)
        finally:
            tracemalloc.stop()
        assert least < traced < most, (fetched, traced)
