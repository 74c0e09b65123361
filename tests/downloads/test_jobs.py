"""Whose limit a URL counts against, and when a try has come further."""

import pytest

from whichpool.downloads.jobs import Job, host_of
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
    sizes = [("v1", 500), ("v1", 599), ("v1", 600), ("v1", 600), ("v1", 0), ("v1", 699), ("v1", 700)]
    assert [job.came(*one, 100) for one in sizes] == [False, False, True, False, False, False, True]
    assert [job.came("v2", size, 100) for size in (5_000, 5_100)] == [False, True], "another version"
