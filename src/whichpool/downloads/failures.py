"""Why a download failed: the classes, what is tried again, and the exit code of each.

DownloadFailed
├── Unsupported   19  a scheme that nothing here can fetch, or whose package is not installed
├── Gone          20  404, 410: the server has no such thing
├── Refused       21  401, 403, 407 and the other 4xx: the server has it, and does not give it
├── NoSuchHost    22  the name was not resolved
├── Unreachable   23  no connection to the host, or to the proxy              tried again
├── TimedOut      24  connecting, the first byte, or a stall                  tried again
├── Broken        25  the connection or the message broke in the middle       tried again
├── Busy          26  408, 425, 429, 5xx: not now                             tried again; the host is left alone
├── BadRedirect   27  too many, a loop, or one that must not be followed
├── NotTrusted    28  the server's certificate is not one to be trusted
├── Unsafe        29  an address or a file name that must not be used
├── Changed       30  what is fetched kept changing while it was fetched      tried again
├── Corrupt       31  the length or a digest is not what was promised         tried again
└── DiskFailed    32  the file cannot be written: full, forbidden, broken

The numbers are exit codes of ``whichpool get``: the highest of all failures is the command's. A name that was not
resolved is tried again if the resolver says that it may be so in a moment.
"""

from __future__ import annotations

__all__ = [
    "BadRedirect",
    "Broken",
    "Busy",
    "Changed",
    "Corrupt",
    "DiskFailed",
    "DownloadFailed",
    "Gone",
    "NoSuchHost",
    "NotTrusted",
    "Refused",
    "TimedOut",
    "Unreachable",
    "Unsafe",
    "Unsupported",
]


class DownloadFailed(Exception):
    """One URL was not fetched.

    Attributes:
        url: What was asked for when it failed, without user name and password: after redirects, or a mirror.
        status: The HTTP status, if the server had given one.
        again: Whether another try may go better.
        retry_after_s: Seconds that the server asked to be left alone; ``None``: it did not say.
        progressed: Whether this try has brought more of the file than there was; `whichpool.Retry` looks at it.
        code: The exit code of ``whichpool get``.
        kind: The name of the class, in lower case; what receipts have.
    """

    code = 1
    usually_again = False
    progressed = False

    def __init__(
        self,
        message: str,
        url: str = "",
        *,
        status: int | None = None,
        again: bool | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.url = url
        self.status = status
        self.again = self.usually_again if again is None else again
        self.retry_after_s = retry_after_s

    @property
    def kind(self) -> str:
        """The class as receipts name it."""
        return type(self).__name__.lower()

    def __reduce__(self) -> tuple[object, ...]:
        # Through `__dict__`, so that what is keyword-only arrives too.
        return type(self), (str(self),), self.__dict__


class Unsupported(DownloadFailed):
    """A scheme that nothing here can fetch (``gopher://``), or one whose package is not installed (``s3://``)."""

    code = 19


class Gone(DownloadFailed):
    """404 or 410."""

    code = 20


class Refused(DownloadFailed):
    """Another 4xx: a password is missing, say."""

    code = 21


class NoSuchHost(DownloadFailed):
    """The name could not be resolved."""

    code = 22


class Unreachable(DownloadFailed):
    """No connection could be made."""

    code = 23
    usually_again = True


class TimedOut(DownloadFailed):
    """Connecting took too long, no answer began, or the body stalled."""

    code = 24
    usually_again = True


class Broken(DownloadFailed):
    """The connection was reset, the body was cut short, or what came was no HTTP."""

    code = 25
    usually_again = True


class Busy(DownloadFailed):
    """The server asks to come later. The whole host is left alone for ``retry_after_s``."""

    code = 26
    usually_again = True


class BadRedirect(DownloadFailed):
    """A loop, too many, no or no usable ``Location``, or from https to http."""

    code = 27


class NotTrusted(DownloadFailed):
    """TLS: the certificate is not the host's, has expired, or nobody known vouches for it."""

    code = 28


class Unsafe(DownloadFailed):
    """A private address where those are refused, or a name outside the folder."""

    code = 29


class Changed(DownloadFailed):
    """The parts belong to different versions of the thing: nothing of it is put together."""

    code = 30
    usually_again = True


class Corrupt(DownloadFailed):
    """Whole, but not what was promised."""

    code = 31
    usually_again = True


class DiskFailed(DownloadFailed):
    """The file system refused. What is there already is kept, and is gone on with by the next run.

    Attributes:
        said: Whether it is only that the server says of the file that it is larger than what is free: a mirror may say
            something else.
    """

    code = 32
    said = False
