"""``whichpool get`` on the command line: its options and its help. What it does is loaded when it is called."""

from __future__ import annotations

import re
from typing import Any

import click

from whichpool.cli.options import Parsed, debug_option, with_options

__all__ = ["get", "size"]

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def size(text: str) -> int:
    """Bytes: ``5M`` and ``5MB`` are five million, ``1.5GiB`` is one and a half times 2**30; ``/s`` may follow.

    Raises:
        ValueError: It is none, or none at all.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?(?:/s|ps)?\s*", text.lower())
    unit = match and {**_UNITS, **_BINARY}.get(match[2])
    if not match or not unit or (amount := round(float(match[1]) * unit)) < 1:
        raise ValueError(f"{text!r} is no number of bytes such as 500k, 5M or 1.5GiB")
    return amount


def _size(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    try:
        return None if value is None else size(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


_FILE = click.Path(exists=True, dir_okay=False)
_SECONDS = click.FloatRange(0, min_open=True)

_what = with_options(
    click.argument("urls", nargs=-1, metavar="[URL...]"),
    click.option(
        "-i",
        "--input",
        "lists",
        multiple=True,
        metavar="FILE",
        help="Read URLs from this list (see below); - is standard input. May be given several times.",
    ),
    click.option(
        "-d",
        "--dir",
        "folder",
        metavar="DIR",
        default=".",
        help="Where the files go; made if it is not there.",
    ),
    click.option(
        "-o",
        "--out",
        "name",
        metavar="NAME",
        help="The file's name in DIR, which may have folders in it; for one URL.",
    ),
    click.option(
        "--checksum",
        "checksums",
        multiple=True,
        metavar="ALG=HEX",
        help="What the file must have, sha-256=9f86d0... say; for one URL. May be given several times.",
    ),
    click.option("--newer", is_flag=True, help="Fetch what is there already if the server has a newer one."),
    click.option(
        "--overwrite", is_flag=True, help="Fetch what is there already anew. Without one of these it is left."
    ),
)
_how = with_options(
    click.option(
        "-j", "--jobs", type=click.IntRange(1), metavar="N", help="Files in progress at once. [100]"
    ),
    click.option(
        "--max-per-host",
        type=click.IntRange(1),
        metavar="N",
        help="Most connections to one host; how many of them are used is found by trying. [100]",
    ),
    click.option(
        "--segments",
        type=click.IntRange(1),
        metavar="N",
        help="Most ranges of one large file that are fetched at once, where the server can; 1: none. [8]",
    ),
    click.option(
        "--rate", callback=_size, metavar="SIZE", help="Bytes a second for all together: 500k, 5M, 1MiB."
    ),
    click.option(
        "--retries",
        type=click.IntRange(0),
        metavar="N",
        help="Tries of a file that come no further, after the first. [5]",
    ),
    click.option(
        "--connect-timeout",
        "connect_s",
        type=_SECONDS,
        metavar="SECONDS",
        help="For a connection, TLS included. [15]",
    ),
    click.option(
        "--first-byte-timeout",
        "first_byte_s",
        type=_SECONDS,
        metavar="SECONDS",
        help="From asking to the answer. [60]",
    ),
    click.option(
        "--stall-timeout",
        "stall_s",
        type=_SECONDS,
        metavar="SECONDS",
        help="So long may less than 1 kB/s come. [30]",
    ),
)
_who = with_options(
    click.option(
        "--header",
        "headers",
        multiple=True,
        metavar="'K: V'",
        help="Sent with every request. May be given several times.",
    ),
    click.option(
        "--user",
        metavar="NAME:PASSWORD",
        envvar="WHICHPOOL_GET_USER",
        help="For hosts that have none in the URL or in netrc. Better put into the environment as WHICHPOOL_GET_USER: "
        "the command line is seen by everyone on the machine.",
    ),
    click.option("--cookies", type=_FILE, metavar="FILE", help="Cookies in Netscape's format."),
    click.option(
        "--ca-bundle", type=_FILE, metavar="FILE", help="Who is trusted, in place of the system's (PEM)."
    ),
    click.option("--cert", type=_FILE, metavar="FILE", help="This client's certificate (PEM)."),
    click.option("--key", type=_FILE, metavar="FILE", help="Its key, if it is not in the same file."),
    click.option(
        "--proxy", metavar="URL", help="For everything. Without: as http_proxy, https_proxy and no_proxy say."
    ),
    click.option(
        "--no-private", is_flag=True, help="Connect to public addresses only, whatever a name resolves to."
    ),
    click.option("--allow-downgrade", is_flag=True, help="Follow redirects from https to http."),
)
_told = with_options(
    click.option("--receipt", metavar="FILE", help="Append a line of JSON for each URL: what became of it."),
    click.option(
        "--verify",
        metavar="FILE",
        help="Fetch nothing: compare the files in DIR with the receipts in FILE.",
    ),
    click.option(
        "--dry-run",
        is_flag=True,
        help="Fetch nothing: ask for names and sizes, and compare the sum with the free disk.",
    ),
    click.option(
        "--json", "as_json", is_flag=True, help="Print events on standard output, one line of JSON each."
    ),
    click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors."),
    debug_option,
)


@click.command(cls=Parsed)
@_what
@_how
@_who
@_told
def get(**given: Any) -> None:
    """Download files, many at once: whole or not at all, and going on where an earlier run stopped.

    \b
    whichpool get https://example.org/a.iso --checksum sha-256=9f86d0...
    whichpool get -i urls.txt -d data --receipt receipts.jsonl
    whichpool get --verify receipts.jsonl -d data

    A file appears under its name only when all of it is there and its length and digests are right. Until then it is
    NAME.part, with NAME.part.journal beside it; the same command given again goes on from there. A name comes from -o
    or the list, else from the server, else from the URL. None leads out of DIR, characters that some system forbids
    become _, and of two that could be one file on some system the second gets a number (a-2.txt).

    \b
    A list has one URL a line, or is in aria2's format:
      https://example.org/a.iso<TAB>https://mirror.example/a.iso
        out=images/a.iso
        checksum=sha-256=9f86d0...
        header=Accept-Language: en

    Lines that begin with # say nothing. Other options of a URL: dir (a folder in DIR), referer, user-agent. Those of
    aria2's that only say how to fetch are passed over; any other one is an error, and its URL is left out.

    Sizes: k, M, G are powers of 1000; KiB, MiB, GiB of 1024.

    On a terminal, standard error shows the progress of all and of the busiest files; elsewhere a line every few
    seconds. --json prints events on standard output instead, one JSON object a line; within one version, fields are
    only added:

    \b
    start     schema, version, whichpool, folder: always the first
    progress  elapsed_s, received_bytes, bytes_per_s, left_s, active, ended,
              files, done_bytes, total_bytes, outcomes, busiest (of each: name,
              url, done_bytes, total_bytes, bytes_per_s, left_s); about twice
              a second. null: not known
    bad       line, message: an entry of a list that is none
    receipt   a URL is done with: the fields of a line of --receipt
    file      instead, with --dry-run: url, name, bytes, there, ranges,
              final_url, failure, message; with --verify: path, state, message
    end       code, elapsed_s, files, received_bytes, bytes_per_s, outcomes,
              failures (by class), bad; with --dry-run also bytes_needed,
              unknown, bytes_free: the last, unless an error ends it earlier

    \b
    Exit codes; of several, the highest:
      0   all files are there and whole
      2   the command line cannot be right
      3   a list could not be read, an entry of it is none, or receipts
          could not be written
      19  unsupported: a scheme that cannot be fetched, or not without a
          package that is not installed; the message has the pip line
      20  gone: 404, 410
      21  refused: 401, 403, other 4xx
      22  nosuchhost: the name was not resolved
      23  unreachable: no connection
      24  timedout: connecting, first byte, or a stall
      25  broken: the connection or the message
      26  busy: 408, 425, 429, 5xx
      27  badredirect: a loop, too many, or from https to http
      28  nottrusted: the certificate
      29  unsafe: a private address, or a name outside DIR
      30  changed: while it was fetched
      31  corrupt: not the length or digest that was promised;
          with --verify, a file is missing or differs
      32  diskfailed: full, forbidden, broken; with --dry-run, less is free
          than is needed
      1   something unforeseen; 130 Ctrl-C; 143 SIGTERM
    """
    from whichpool.cli.get import run

    run(**given)
