"""Killed at its n-th write, sync, link or removal; for each n, what the next run makes of it. See test_crash.py.

For each n this process, which has one thread, forks one that is killed, and one that goes on from there; both use the
same scripted transport. It prints a line for each n, and ends when n is past the last call.
"""

import hashlib
import os
import shutil
import signal
import sys

from scripted import Site

from whichpool.downloads import fetch, part, transfer
from whichpool.downloads.board import Board
from whichpool.downloads.context import Context
from whichpool.downloads.fetch import Fetcher
from whichpool.downloads.folder import Folder
from whichpool.downloads.jobs import Job
from whichpool.downloads.records import Request, Settings

DATA = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(640))  # 20,480 bytes
URL = "http://a.example/sub/file.bin"
CALLS = (
    "open",
    "pwrite",
    "fdatasync",
    "fsync",
    "link",
    "rename",
    "unlink",
    "ftruncate",
    "utime",
    "mkdir",
    "close",
)

part.GROUP_BYTES = 4_096
transfer.CHUNK_BYTES = fetch.CHUNK_BYTES = 2_048


def die_at(count):
    """The process is killed just before its ``count``-th call of any of these, so just after the one before."""
    left = [count]

    def counted(real):
        def call(*args, **kwargs):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return call

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))


def fetched(folder, overwrite):
    site = Site()
    site.put(URL, DATA)
    settings = Settings(overwrite=overwrite)
    context = Context(Folder(folder), site, settings, Board(1))
    context.later = lambda chore: chore()  # on this thread, so that the calls come in one order
    job = Job(0, Request(URL, name="sub/file.bin"), "sub/file.bin", "sub/file.bin")
    _, receipt = Fetcher(context)(job)
    return site, receipt


def forked(work):
    """What it printed, and how it ended."""
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(out)
        code = 1
        try:
            text = work()
            os.write(into, text.encode())
            code = 0
        finally:
            os._exit(code)
    os.close(into)
    with open(out, "rb") as file:
        text = file.read().decode()
    return text, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def claimed(folder):
    """What is claimed to be on the disk, read without the code that is tested: the end of the last range."""
    try:
        with open(os.path.join(folder, "sub/file.bin.part.journal"), "rb") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return 0
    return max([int(line.rpartition(b",")[2].rstrip(b"]}")) for line in lines[1:]], default=0)


def main(root, overwrite):
    count = 0
    while True:
        count += 1
        folder = os.path.join(root, "d")
        shutil.rmtree(folder, ignore_errors=True)
        old = b"old" * 5 if overwrite else None
        if old:
            os.makedirs(os.path.join(folder, "sub"))
            with open(os.path.join(folder, "sub/file.bin"), "wb") as file:
                file.write(old)

        def killed(count=count, folder=folder):
            die_at(count)
            fetched(folder, overwrite)
            return "whole"

        text, code = forked(killed)
        final = os.path.join(folder, "sub/file.bin")
        seen = None
        if os.path.exists(final):
            with open(final, "rb") as file:
                seen = file.read()
        assert seen in (None, old, DATA), f"{count}: something else has the name: {len(seen)} bytes"
        there = claimed(folder)
        replaced = overwrite and seen == DATA

        def again(folder=folder, replaced=replaced):
            site, receipt = fetched(folder, overwrite and not replaced)
            return f"{receipt.outcome} {receipt.fetched_bytes} {receipt.resumed} {len(site.asked)}"

        said, ended = forked(again)
        assert ended == 0, f"{count}: {said}"
        with open(final, "rb") as file:
            assert file.read() == DATA, f"{count}: not what it should be"
        outcome, came, resumed, asked = said.split()
        left = sorted(os.listdir(os.path.join(folder, "sub")))
        assert left == ["file.bin"], f"{count}: {left}"
        if outcome == "fetched":
            assert int(came) == len(DATA) - there, f"{count}: {came} bytes, though {there} were there"
        print(count, code, outcome, came, resumed, asked, flush=True)
        if code == 0:
            assert text == "whole"
            return


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] == "overwrite")
