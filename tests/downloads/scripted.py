"""A transport without a network: what each URL answers is written down by the test, request by request."""

from __future__ import annotations

import threading
from collections import deque

from whichpool.downloads.answer import Answer
from whichpool.downloads.failures import Broken, Gone

OLD = "Tue, 01 Sep 2026 10:00:00 GMT"
NOW = "Wed, 25 Nov 2026 10:00:00 GMT"


class Body:
    """Bytes, and what goes wrong with them."""

    def __init__(self, data, *, piece=1 << 30, ends_with=None, before=None):
        self.data = data
        self.at = 0
        self.piece = piece
        self.ends_with = ends_with  # an exception in place of the end
        self.before = before  # called with the place before each read
        self.closed = False

    def read(self, most):
        if self.before is not None:
            self.before(self.at)
        data = self.data[self.at : self.at + min(most, self.piece)]
        self.at += len(data)
        if not data and self.ends_with is not None:
            raise self.ends_with
        return data

    def close(self):
        self.closed = True


class Thing:
    """What is at one URL, and how the next requests for it are answered."""

    def __init__(
        self, data, *, etag='"v1"', modified=OLD, ranges=True, length=True, piece=1 << 30, **headers
    ):
        self.data = data
        self.etag = etag
        self.modified = modified
        self.ranges = ranges
        self.length = length
        self.piece = piece
        self.before = None
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.acts = (
            deque()
        )  # callables: (site, thing, request) -> an answer, an exception, or None for the usual

    def then(self, *acts):
        self.acts.extend(acts)
        return self


class Request:
    def __init__(self, url, headers, first, last, if_range, since):
        self.url, self.headers, self.first, self.last, self.if_range, self.since = (
            url, dict(headers), first, last, if_range, since,
        )  # fmt: skip
        self.ranged = first > 0 or last is not None

    def __repr__(self):
        return f"{self.url}[{self.first}-{self.last}] {self.if_range or ''}"


class Site:
    """The transport. ``asked``: all requests, in order."""

    def __init__(self, **things):
        self.things = {}
        self.asked = []
        self.bodies = []
        self.lock = threading.Lock()
        self.closed = False

    def put(self, url, data, **how):
        thing = self.things[url] = Thing(data, **how)
        return thing

    def ask_plainly(self, url):
        """All is asked by `open`."""
        return

    def open(self, url, headers=(), *, first=0, last=None, if_range=None, if_none_match=None,
             if_modified_since=None, method="GET", wait_s=None):  # fmt: skip
        request = Request(url, headers or {}, first, last, if_range, if_modified_since)
        with self.lock:
            self.asked.append(request)
            thing = self.things.get(url)
            if thing is None:
                raise Gone("the server has no such thing: 404", url, status=404)
            act = thing.acts.popleft() if thing.acts else None
        found = act(self, thing, request) if act is not None else None
        if isinstance(found, BaseException):
            raise found
        return self.usual(thing, request) if found is None else found

    def usual(self, thing, request, **body):
        if request.since is not None and request.since == thing.modified:
            return self.answer(request, thing, 304, b"")
        fits = request.if_range is None or request.if_range in (thing.etag, thing.modified)
        if request.ranged and thing.ranges and fits:
            if request.first >= len(thing.data):
                return self.answer(request, thing, 416, b"", {"content-range": f"bytes */{len(thing.data)}"})
            last = len(thing.data) - 1 if request.last is None else min(request.last, len(thing.data) - 1)
            return self.partial(thing, request, request.first, last, **body)
        told = {"content-length": str(len(thing.data))} if thing.length else {"transfer-encoding": "chunked"}
        return self.answer(request, thing, 200, thing.data, told, **body)

    def partial(self, thing, request, first, last, total=None, headers=(), **body):
        total = len(thing.data) if total is None else total
        told = {"content-range": f"bytes {first}-{last}/{total}", **dict(headers)}
        return self.answer(request, thing, 206, thing.data[first : last + 1], told, **body)

    def answer(self, request, thing, status, data, headers=(), **body):
        told = {"date": NOW, **thing.headers, **dict(headers)}
        for name, value in (("etag", thing.etag), ("last-modified", thing.modified)):
            if value is not None:
                told.setdefault(name, value)
        made = Body(data, **{"piece": thing.piece, "before": thing.before, **body})
        self.bodies.append(made)
        return Answer(request.url, status, told, made)

    def cut(self):
        pass  # nobody waits for bytes here

    def close(self):
        self.closed = True

    def ranges(self, url=None):
        """What was asked for, as (first, last)."""
        return [(one.first, one.last) for one in self.asked if url in (None, one.url)]


def cut(after):
    """The connection breaks after so many bytes of the body."""

    def act(site, thing, request):
        answer = site.usual(thing, request)
        answer.body.data = answer.body.data[:after]
        answer.body.ends_with = Broken("the connection was reset", request.url)
        return answer

    return act


def instead(site, monkeypatch):
    """Have `whichpool.download` use the site, wait for nothing before another try, and know nothing of other tests."""
    from whichpool.downloads import manners, run

    monkeypatch.setattr(run, "Transport", lambda settings: site)
    monkeypatch.setattr(manners, "FIRST_WAIT_S", 0.0)
    monkeypatch.setenv("WHICHPOOL_CACHE", "")
    return site
