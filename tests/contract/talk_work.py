"""Functions that print, log and warn; workers import this, as they would a user's module."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import warnings

log = logging.getLogger("talk_work.deep")


class Lines:
    """Prints long lines, part by part, so that they would mix if they could."""

    def __init__(self, lines):
        self.lines = lines

    def __call__(self, x):
        for line in range(self.lines):
            print(x, line, "abc" * 100, sep=":")
            print("err", x, line, file=sys.stderr)
        return x


class WholeLines(Lines):
    """Prints the same, each line in one piece: what one thread prints in parts, another's line may cut, as ever."""

    def __call__(self, x):
        for line in range(self.lines):
            sys.stdout.write(f"{x}:{line}:{'abc' * 100}\n")
            sys.stderr.write(f"err {x} {line}\n")
        return x


def print_pid(x):
    print("pid", os.getpid())
    time.sleep(0.001)
    return x


def compute_and_print(x):
    print("item", x)
    return sum(i ^ x for i in range(60_000)) and x


def compute_and_write(x):
    """As `compute_and_print`, the line in one piece: threads of one process may cut what is printed in parts."""
    sys.stdout.write(f"item {x}\n")
    return sum(i ^ x for i in range(60_000)) and x


def print_part(x):
    print(".", end="")
    return x


def print_part_in_thread(x):
    thread = threading.Thread(target=print, args=("aside",), kwargs={"end": ""})
    thread.start()
    thread.join()
    return x


def print_bytes(x):
    sys.stdout.buffer.write(b"bytes %d\n" % x)
    return x


def print_other_bytes(x):
    sys.stdout.buffer.write(b"\xff\xfe %d\n" % x)
    return x


def print_all(x):
    """Text that needs care on the wire."""
    print("é\u20ac\U0001f600")
    return x


def print_surrogate(x):
    print("\udc80")
    return x


def stream_looks(_):
    return sys.stdout.isatty(), sys.stdout.fileno(), sys.stderr.fileno(), sys.stdout.encoding


def print_and_die(x):
    if x == 3:
        print("last words")
        print("of standard error", file=sys.stderr)
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.002)
    return x


def run_program(x):
    print("printed")
    subprocess.run([sys.executable, "-c", "print('from a program')"], check=True)
    return x


def fork_and_print(x):
    pid = os.fork()
    if pid == 0:
        try:
            print("from a child")
            logging.getLogger("talk_work.child").error("logged by a child")
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    return x


class PrintsWhenGone:
    def __del__(self):
        print("gone")


def print_from_finalizer(x):
    cycle = [PrintsWhenGone()]
    cycle.append(cycle)
    print("here")
    return x


def print_in_redirect(x):
    with contextlib.redirect_stdout(io.StringIO()) as kept:
        print("kept", x)
    return kept.getvalue()


# -- logging ---------------------------------------------------------------------------------------------------------


class NoPickle:
    def __reduce__(self):
        raise TypeError("not to be sent")

    def __str__(self):
        return "in words"


def log_all(x):
    log.debug("debug %s", x)
    log.info("info %s", x)
    log.warning("warning %s", x, extra={"shop": {"no": x}, "stays": NoPickle()})
    time.sleep(0.001)
    return os.getpid()


def log_object(x):
    log.warning("%s of %d", NoPickle(), x)
    return x


def log_wrong(x):
    log.warning("%d", "no number")
    return x


def log_error(x):
    try:
        return 1 // (x - x)
    except ZeroDivisionError:
        log.exception("failed %s", x)
    return x


_verbose = False


def log_verbosely(x):
    """Sets its logger up at its first call in a process."""
    global _verbose
    if not _verbose:
        _verbose = True
        logging.getLogger("talk_work.verbose").setLevel(logging.DEBUG)
    logging.getLogger("talk_work.verbose").debug("verbose %s", x)
    return x


class ToFile(logging.Handler):
    def __init__(self, path):
        super().__init__()
        self.path = path

    def emit(self, record):
        with open(self.path, "a") as file:
            file.write(record.getMessage() + "\n")


class LogToFile:
    """Installs a handler of its own, once per process, in place of that of an earlier test."""

    def __init__(self, path):
        self.path = path

    def __call__(self, x):
        mine = logging.getLogger("talk_work.mine")
        if not any(isinstance(handler, ToFile) and handler.path == self.path for handler in mine.handlers):
            mine.handlers[:] = [handler for handler in mine.handlers if not isinstance(handler, ToFile)]
            mine.addHandler(ToFile(self.path))
        mine.warning("mine %s", x)
        return x


def log_basic_config(x):
    logging.basicConfig(level=logging.DEBUG, format="configured there: %(message)s")
    logging.getLogger("talk_work.basic").warning("basic %s", x)
    return x


# -- warnings --------------------------------------------------------------------------------------------------------


class OwnWarning(UserWarning):
    pass


class OddWarning(UserWarning):
    """Cannot be made from a text."""

    def __init__(self, a, b):
        super().__init__(a, b)


def warn_user(x):
    warnings.warn("careful", stacklevel=1)
    time.sleep(0.001)
    return os.getpid()


def warn_at_7(x):
    if x == 7:
        warnings.warn("seven", OwnWarning, stacklevel=1)
    return x


def warn_odd(x):
    warnings.warn(OddWarning("odd", x // 1000), stacklevel=1)
    return x


def warn_local(x):
    class Local(UserWarning):
        pass

    warnings.warn("local", Local, stacklevel=1)
    return x


def warn_recorded(x):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        warnings.warn("kept", stacklevel=1)
    return len(seen)


def warn_in_own_way(x):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("in spite of all", OwnWarning, stacklevel=1)
    return x
