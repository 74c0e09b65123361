"""Ctrl-C while a run waits or clears away: heard once, never lost."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import weakref

import pytest

import whichpool
from whichpool._run.keys import Keys
from whichpool._run.work import Work


def press():
    os.kill(os.getpid(), signal.SIGINT)


class Thing:
    pass


def press_where_it_gets_lost():
    """Python prints an exception that is raised in the callback of a weak reference, and goes on."""
    thing = Thing()
    reference = weakref.ref(thing, lambda _: press())
    del thing
    assert reference() is None


@pytest.fixture
def lost(monkeypatch):
    """The interrupts that Python swallowed."""
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", lambda news: seen.append(news.exc_type))
    return seen


@pytest.fixture(autouse=True)
def the_handler_is_python_s_again():
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def stay(x):
    while True:
        time.sleep(60)  # the work of this item; its worker process is ended


def test_what_got_lost_is_raised_by_check(lost):
    keys = Keys()
    keys.listen()
    press_where_it_gets_lost()
    assert lost == [KeyboardInterrupt]
    with pytest.raises(KeyboardInterrupt):
        keys.check()
    keys.check()
    keys.leave(tell=True)


def test_what_the_function_has_dealt_with_is_forgotten():
    keys = Keys()
    keys.listen()
    with pytest.raises(KeyboardInterrupt):
        press()
    keys.forget()
    keys.check()
    keys.leave(tell=True)


def test_what_is_held_is_raised_afterwards():
    keys = Keys()
    keys.listen()
    keys.hold()
    press()
    with pytest.raises(KeyboardInterrupt):
        keys.release()
    keys.hold()
    press()
    keys.leave(tell=False)
    keys.listen()
    keys.hold()
    press()
    with pytest.raises(KeyboardInterrupt):
        keys.leave(tell=True)


def test_a_handler_of_the_program_is_left_alone():
    heard = []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append(1))
    try:
        keys = Keys()
        keys.listen()
        press()
        keys.check()
        keys.leave(tell=True)
        assert heard == [1]
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_handler_that_was_left_behind_is_taken_over():
    Keys().listen()
    keys = Keys()
    keys.listen()
    keys.leave(tell=True)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_another_thread_hears_nothing():
    def run():
        keys = Keys()
        keys.listen()
        keys.hold()
        keys.leave(tell=True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


@pytest.mark.parametrize("plan", [(1, 1), (2, 2), "auto"])
@pytest.mark.parametrize("how", ["map", "imap"])
def test_a_key_that_got_lost_ends_the_run(plan, how, lost):
    pressed = []

    def progress(done, total):
        if not pressed:
            pressed.append(1)
            press_where_it_gets_lost()

    fn = stay if plan != "auto" else lambda x: time.sleep(0.01)
    call = whichpool.map if how == "map" else lambda *args, **options: list(whichpool.imap(*args, **options))
    with pytest.raises(KeyboardInterrupt):
        call(fn, range(1000), plan=plan, progress=progress)
    assert lost == [KeyboardInterrupt]


@pytest.mark.parametrize("plan", [(2, 1), (0, 2)])
def test_a_second_press_does_not_disturb_clearing_away(plan, monkeypatch):
    close = Work.close
    closed = []

    def pressed_again(work):
        press()
        press()
        close(work)
        closed.append(work)

    monkeypatch.setattr(Work, "close", pressed_again)

    def progress(done, total):
        press()

    with pytest.raises(KeyboardInterrupt):
        whichpool.map(time.sleep, [0.2] * 40, plan=plan, progress=progress)
    assert len(closed) == 1


def test_a_press_while_another_error_is_cleared_away_is_not_forgotten(monkeypatch):
    close = Work.close

    def pressed(work):
        press()
        close(work)

    monkeypatch.setattr(Work, "close", pressed)

    def progress(done, total):
        raise ValueError("from the callback")

    with pytest.raises(KeyboardInterrupt) as caught:
        whichpool.map(time.sleep, [0.05] * 40, plan=(1, 1), progress=progress)
    assert isinstance(caught.value.__context__, ValueError)


def test_a_press_while_other_threads_finish_after_a_failure():
    go_on = threading.Event()
    held = threading.Event()

    def fn(x):
        if x == 0:
            held.wait(30)
            raise ValueError("at once")
        if x == 1:
            held.set()
            main = threading.main_thread().ident
            signal.pthread_kill(main, signal.SIGINT)
            go_on.wait(30)
        return x

    try:
        with pytest.raises((KeyboardInterrupt, ValueError)) as caught:
            whichpool.map(fn, range(2), plan=(0, 3))
        assert caught.type is KeyboardInterrupt
    finally:
        go_on.set()
