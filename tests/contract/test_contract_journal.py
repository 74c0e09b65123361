"""`journal=`: what was finished is not run again, whatever ended the program; and never is it another call's result."""

from __future__ import annotations

import fcntl
import json
import operator
import os
import random
import signal
import subprocess
import sys
import threading
import time
from itertools import count, islice

import pytest
from contract_work import (
    Moody,
    Point,
    appends,
    draw,
    lock_result,
    moved,
    show,
    sleepy,
    slow_square,
    square,
)

import whichpool
from whichpool._run.journal import Journal

# The kill test goes on until it has killed so often; WHICHPOOL_JOURNAL_KILLS=2000 is a longer one.
KILLS = int(os.environ.get("WHICHPOOL_JOURNAL_KILLS", "100"))


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "journal"


@pytest.fixture
def moody(tmp_path):
    folder = tmp_path / "moody"
    folder.mkdir()
    return Moody(str(folder))


class Look(Journal):
    """Any journal, whoever's it is."""

    def _compare(self, then, now):
        pass


def recorded(path):
    """The indexes whose results are in the file. One without a heading is left alone: who opens it would write one."""
    if not os.stat(path).st_size:
        return set()
    look = Look(str(path), {})
    try:
        return set(look.index)
    finally:
        look.close()


def squares(n):
    return [x * x for x in range(n)]


# --- going on -----------------------------------------------------------------------------------------------


def test_the_same_call_again_runs_nothing(plan, journal, moody):
    first = whichpool.map(moody, range(60), plan=plan, journal=journal)
    assert first == squares(60)
    assert moody.ran() == list(range(60))
    again = whichpool.map(moody, range(60), plan=plan, journal=journal)
    assert again == squares(60)
    assert moody.ran() == []
    assert again.report.items == 60
    assert "60 of 60 items were taken from the journal" in again.report.notes


def test_after_a_failure_only_what_is_missing_runs(plan, journal, moody):
    moody.bad(30)
    with pytest.raises(ValueError, match="item 30 is bad"):
        whichpool.map(moody, range(60), plan=plan, journal=journal)
    assert set(range(30)) <= set(moody.ran())
    kept = recorded(journal)
    assert set(range(30)) <= kept
    assert 30 not in kept
    moody.bad()
    results = whichpool.map(moody, range(60), plan=plan, journal=journal)
    assert results == squares(60)
    assert moody.ran() == sorted(set(range(60)) - kept)
    assert f"{len(kept)} of 60 items were taken from the journal" in results.report.notes


def test_more_items_than_last_time(plan, journal, moody):
    whichpool.map(moody, range(20), plan=plan, journal=journal)
    moody.ran()
    assert whichpool.map(moody, range(50), plan=plan, journal=journal) == squares(50)
    assert moody.ran() == list(range(20, 50))


def test_on_another_plan(plan, journal, moody):
    whichpool.map(moody, range(20), plan=plan, journal=journal)
    for other in ["loop", "threads", (1, 2)]:
        assert whichpool.map(moody, range(30), plan=other, journal=journal) == squares(30)
    assert moody.ran() == list(range(30))


def test_failures_that_are_returned_run_again(plan, journal, moody):
    moody.bad(3, 17)
    first = whichpool.map(moody, range(40), plan=plan, journal=journal, on_error="return")
    assert [r.index for r in first if isinstance(r, whichpool.Failure)] == [3, 17]
    assert first.report.failures == 2
    assert moody.ran() == list(range(40))
    assert recorded(journal) == set(range(40)) - {3, 17}
    moody.bad(17)
    again = whichpool.map(moody, range(40), plan=plan, journal=journal, on_error="return")
    assert [r.index for r in again if isinstance(r, whichpool.Failure)] == [17]
    assert again.report.failures == 1
    assert moody.ran() == [3, 17]
    moody.bad()
    assert whichpool.map(moody, range(40), plan=plan, journal=journal) == squares(40)


def test_holes_all_over(plan, journal, moody):
    """Every third item is missing: runs of recorded ones and single others, in order."""
    moody.bad(*range(0, 90, 3))
    whichpool.map(moody, range(90), plan=plan, journal=journal, on_error="return")
    moody.ran()
    moody.bad()
    assert list(whichpool.imap(moody, iter(range(90)), plan=plan, journal=journal)) == squares(90)
    assert moody.ran() == list(range(0, 90, 3))


def test_with_retries(plan, journal, moody):
    moody.bad(5, 6)
    policy = whichpool.Retry(2, first_wait_s=0.001)
    first = whichpool.map(moody, range(20), plan=plan, journal=journal, retries=policy, on_error="return")
    assert [i for i, r in enumerate(first) if isinstance(r, whichpool.Failure)] == [5, 6]
    assert moody.ran() == sorted([*range(20), 5, 5, 6, 6])
    moody.bad()
    assert whichpool.map(moody, range(20), plan=plan, journal=journal, retries=policy) == squares(20)
    assert moody.ran() == [5, 6]


def test_with_a_timeout_and_a_deadline(plan, journal, moody):
    more = {"timeout": 20.0, "deadline": 60.0}
    whichpool.map(moody, range(10), plan=plan, journal=journal, **more)
    assert whichpool.map(moody, range(30), plan=plan, journal=journal, **more) == squares(30)
    assert list(whichpool.imap(moody, iter(range(40)), plan=plan, journal=journal, **more)) == squares(40)
    assert moody.ran() == list(range(40))


def test_seeded_numbers_are_the_same(plan, journal):
    expected = whichpool.map(draw, range(30), seed=7, plan="loop")
    assert whichpool.map(draw, range(12), seed=7, plan=plan, journal=journal) == expected[:12]
    assert whichpool.map(draw, range(30), seed=7, plan=plan, journal=journal) == expected
    with pytest.raises(whichpool.JournalMismatch, match="seed=7, not seed=8"):
        whichpool.map(draw, range(30), seed=8, plan=plan, journal=journal)


def test_with_a_limit_and_several_iterables(plan, journal):
    assert whichpool.map(pow, range(20), [2] * 10, plan=plan, journal=journal, limit=2) == squares(10)
    again = whichpool.map(pow, range(20), [2] * 20, plan=plan, journal=journal, limit=2)
    assert again == squares(20)
    assert "10 of 20 items were taken from the journal" in again.report.notes


def test_progress_counts_all(plan, journal):
    whichpool.map(square, range(30), plan=plan, journal=journal)
    told = []
    whichpool.map(square, range(50), plan=plan, journal=journal, progress=lambda *now: told.append(now))
    assert told[-1] == (50, 50)


def test_results_and_items_of_classes(plan, journal):
    points = [Point(x) for x in range(20)]
    assert whichpool.map(moved, points[:15], plan=plan, journal=journal) == [Point(x + 1) for x in range(15)]
    again = whichpool.map(moved, points, plan=plan, journal=journal)
    assert again == [Point(x + 1) for x in range(20)]
    assert type(again[0]) is Point
    assert "15 of 20 items were taken from the journal" in again.report.notes


@pytest.mark.parametrize("plan", ["loop", "auto"])
def test_an_item_that_its_call_changes_is_known_by_what_it_was(plan, journal):
    for _ in range(2):
        assert whichpool.map(appends, [[x] for x in range(20)], plan=plan, journal=journal) == [
            [x, 1] for x in range(20)
        ]


def test_a_list_that_grew_is_not_taken_for_the_whole(journal):
    """What a call appends is not in the journal, so a crawl does not go on; it says so, and is not cut short."""
    todo = [3]

    def visit(x):
        if x:
            todo.append(x - 1)
        return x

    assert whichpool.map(visit, todo, plan="loop", shared="ok", journal=journal) == [3, 2, 1, 0]
    todo[:] = [3]
    with pytest.raises(whichpool.JournalMismatch, match="result of item 3, and there are 1 items"):
        whichpool.map(visit, todo, plan="loop", shared="ok", journal=journal)
    todo[:] = [5]
    with pytest.raises(whichpool.JournalMismatch, match="value of todo"):
        whichpool.map(visit, todo, plan="loop", shared="ok", journal=journal)


# --- lazily -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("known", [True, False])
def test_imap(plan, journal, moody, ordered, known):
    def items(n):
        return range(n) if known else iter(range(n))

    assert sorted(whichpool.imap(moody, items(40), plan=plan, journal=journal, ordered=ordered)) == squares(
        40
    )
    assert moody.ran() == list(range(40))
    with whichpool.imap(moody, items(70), plan=plan, journal=journal, ordered=ordered) as results:
        got = list(results)
    assert (got if ordered else sorted(got)) == squares(70)
    assert moody.ran() == list(range(40, 70))
    assert results.report.items == 70
    assert "40 of 70 items were taken from the journal" in results.report.notes


def test_an_endless_iterable(plan, journal, moody):
    with whichpool.imap(moody, count(), plan=plan, journal=journal) as results:
        assert list(islice(results, 100)) == squares(100)
    ran = moody.ran()
    kept = recorded(journal)
    assert set(range(100)) <= kept
    assert kept <= set(ran)
    with whichpool.imap(moody, count(), plan=plan, journal=journal) as results:
        assert list(islice(results, 150)) == squares(150)
    assert not set(moody.ran()) & kept


def test_recorded_items_are_taken_only_as_they_are_wanted(journal):
    whichpool.map(square, range(1000), plan="loop", journal=journal)
    for plan in ["loop", "auto"]:
        taken = []

        def items(taken=taken):
            for x in count():
                taken.append(x)
                yield x

        with whichpool.imap(square, items(), plan=plan, journal=journal) as results:
            for n in range(50):
                assert next(results) == n * n
                assert len(taken) == n + 1


def test_recorded_items_are_taken_no_further_ahead_than_others(concurrent_plan, journal):
    whichpool.map(square, range(1000), plan="loop", journal=journal)
    taken = []

    def items():
        for x in count():
            taken.append(x)
            yield x

    with whichpool.imap(square, items(), plan=concurrent_plan, journal=journal) as results:
        for n in range(300):
            assert next(results) == n * n
            assert len(taken) < n + 500


def test_what_was_taken_from_imap_is_recorded_when_it_is_closed_early(plan, journal, moody):
    results = whichpool.imap(moody, range(500), plan=plan, journal=journal)
    got = [next(results) for _ in range(5)]
    results.close()
    assert got == squares(5)
    assert set(range(5)) <= recorded(journal)


# --- reduced ------------------------------------------------------------------------------------------------


def test_a_total_to_the_last_bit(plan, journal):
    rng = random.Random(20261124)
    numbers = [rng.uniform(-1, 1) * 10 ** rng.randint(-12, 12) for _ in range(700)]
    expected = whichpool.map_reduce(float, numbers, operator.add, plan="loop").hex()
    for n in (1, 333, 700, 700):
        total = whichpool.map_reduce(float, numbers[:n], operator.add, plan=plan, journal=journal)
    assert total.hex() == expected
    assert recorded(journal) == set(range(700))


def test_map_and_map_reduce_share_a_journal(plan, journal, moody):
    moody.bad(2)
    total = whichpool.map_reduce(
        moody, range(20), operator.add, plan=plan, journal=journal, on_error="return"
    )
    assert total == sum(squares(20)) - 4
    moody.bad()
    moody.ran()
    assert whichpool.map(moody, range(20), plan=plan, journal=journal) == squares(20)
    assert moody.ran() == [2]


# --- refused ------------------------------------------------------------------------------------------------


def test_another_function(plan, journal):
    whichpool.map(square, range(10), plan=plan, journal=journal)
    with pytest.raises(
        whichpool.JournalMismatch, match=r"contract_work\.square, not of contract_work\.slow_square"
    ):
        whichpool.map(slow_square, range(10), plan=plan, journal=journal)


def test_a_function_that_holds_something_else(plan, journal):
    def times(factor):
        return lambda x: x * factor

    whichpool.map(times(1), range(10), plan=plan, journal=journal)
    with pytest.raises(whichpool.JournalMismatch, match=r"value of factor in .*delete the file"):
        whichpool.map(times(2), range(10), plan=plan, journal=journal)
    assert whichpool.map(times(1), range(10), plan=plan, journal=journal) == list(range(10))


def test_other_items(plan, journal, moody):
    whichpool.map(moody, range(30), plan=plan, journal=journal)
    moody.ran()
    changed = [*range(12), 99, *range(13, 40)]
    with pytest.raises(whichpool.JournalMismatch, match=r"item 12 .*99"):
        whichpool.map(moody, changed, plan=plan, journal=journal)
    assert not set(moody.ran()) & set(range(30))
    with pytest.raises(whichpool.JournalMismatch, match=r"item 12 .*99"):
        list(whichpool.imap(moody, iter(changed), plan=plan, journal=journal))


def test_fewer_items(plan, journal, moody):
    whichpool.map(moody, range(30), plan=plan, journal=journal)
    with pytest.raises(whichpool.JournalMismatch, match="result of item 29, and there are 20 items"):
        whichpool.map(moody, range(20), plan=plan, journal=journal)
    with pytest.raises(whichpool.JournalMismatch, match="result of item 29, and there are 20 items"):
        list(whichpool.imap(moody, iter(range(20)), plan=plan, journal=journal))
    assert moody.ran() == list(range(30))


def test_a_result_that_cannot_be_pickled(plan, journal):
    with pytest.raises(whichpool.CannotTravel, match="lock"):
        whichpool.map(lock_result, range(10), plan=plan, journal=journal)
    assert 4 not in recorded(journal)
    results = whichpool.map(lock_result, range(10), plan=plan, journal=journal, on_error="return")
    assert isinstance(results[4], whichpool.Failure)
    assert isinstance(results[4].error, whichpool.CannotTravel)
    assert [r for i, r in enumerate(results) if i != 4] == [x for x in range(10) if x != 4]
    assert recorded(journal) == set(range(10)) - {4}


def test_the_item_of_a_result_that_cannot_be_pickled_is_named(journal):
    with pytest.raises(whichpool.CannotTravel, match=r"result of item 4 \(4\)"):
        whichpool.map(lock_result, range(10), plan="loop", journal=journal)


def test_an_item_that_cannot_be_pickled(journal):
    with pytest.raises(whichpool.CannotTravel, match=r"item 1 .*lock"):
        whichpool.map(show, [0, threading.Lock()], plan="loop", journal=journal)


class Odd:
    """Pickles, and cannot be unpickled."""

    def __reduce__(self):
        return int, ("no number",)


def makes_odd(x):
    return Odd() if x == 3 else x


def test_a_result_that_cannot_be_unpickled_is_run_again(journal):
    for expected in (None, "1 results of the journal could not be unpickled; their items were run again"):
        results = whichpool.map(makes_odd, range(6), plan="loop", journal=journal)
        assert isinstance(results[3], Odd)
        assert expected is None or expected in results.report.notes


def test_two_at_once(plan, journal):
    numbers = count()
    with whichpool.imap(square, numbers, plan=plan, journal=journal) as results:
        next(results)
        with pytest.raises(whichpool.PlanError, match="in use by another run"):
            whichpool.map(square, range(10), journal=journal)
    # How far it was ahead is a few batches, whose size depends on how fast the machine was: never more than it took.
    items = next(numbers) + 100
    assert whichpool.map(square, range(items), journal=journal) == squares(items)


@pytest.mark.parametrize("bad", [0, b"bytes", "", True, ["a"]])
def test_what_is_no_path(bad):
    with pytest.raises(whichpool.PlanError, match="journal="):
        whichpool.map(square, range(3), journal=bad)


def test_a_path_that_cannot_be(plan, tmp_path, moody):
    (tmp_path / "text").write_text("a,b\n")
    for bad in (tmp_path, tmp_path / "missing" / "journal"):
        with pytest.raises(whichpool.PlanError, match="journal="):
            whichpool.map(moody, range(3), plan=plan, journal=bad)
    with pytest.raises(whichpool.JournalMismatch, match="no journal"):
        list(whichpool.imap(moody, range(3), plan=plan, journal=tmp_path / "text"))
    assert (tmp_path / "text").read_text() == "a,b\n"
    assert moody.ran() == []


def test_single_calls_have_no_journal(journal):
    with whichpool.Pool(journal=journal) as pool:
        assert pool.map(square, range(5)) == squares(5)
        with pytest.raises(whichpool.PlanError, match="journal="):
            pool.submit(square, 3)
        assert not pool.explain(square, range(5)).notes
    with pytest.raises(whichpool.PlanError, match="journal="):
        whichpool.Executor(journal=journal)


def test_a_file_that_may_not_grow(process_plan, script, journal):
    """The disk is full, as far as this process can tell."""
    text = """
        import resource, signal, sys, whichpool
        path, plan = sys.argv[1], eval(sys.argv[2])
        def big(x):
            return bytes([x % 256]) * 10_000
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        if len(sys.argv) > 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            results = whichpool.map(big, range(40), plan=plan, journal=path)
        except OSError as error:
            print(type(error).__name__, error)
        else:
            print(results == [big(x) for x in range(40)], *results.report.notes)
    """
    for plan in ["loop", process_plan]:
        path = f"{journal}-{plan}"
        made = script(text)
        said = made.run(path, repr(plan), "full").stdout
        assert "the journal cannot be written (File too large)" in said
        assert len(recorded(path)) == 9  # of 10,000 bytes each
        assert made.run(path, repr(plan)).stdout == "True 9 of 40 items were taken from the journal\n"


# --- at any time --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_any_calls_one_after_the_other(seed, journal, moody):
    """Whatever came before, on whatever plan: nothing recorded runs again or gets lost, and results are the loop's."""
    rng = random.Random(seed)
    have, n = set(), 0
    for _ in range(6):
        n = max(n, rng.randint(0, 120))
        bad = {x for x in range(n) if rng.random() < rng.choice([0, 0.05, 0.5])}
        moody.bad(*bad)
        options = {
            "plan": rng.choice(["loop", "threads", "processes", (2, 2), (0, 3), "auto"]),
            "limit": rng.choice([None, None, rng.randint(1, 5)]),
            "timeout": rng.choice([None, None, None, 20.0]),
            "journal": journal,
            "on_error": "return",
        }
        items = rng.choice([range(n), iter(range(n)), list(range(n))])
        failed = bad - have
        expected = [x * x for x in range(n) if x not in failed]
        kind = rng.choice(["map", "imap", "unordered", "reduce", "closed"])
        if kind == "reduce":
            assert whichpool.map_reduce(moody, items, operator.add, initial=0, **options) == sum(expected)
        elif kind == "closed":
            with whichpool.imap(moody, items, **options) as results:
                for x, result in enumerate(islice(results, n // 2)):
                    assert result == x * x or x in failed
        else:
            if kind == "map":
                results = got = whichpool.map(moody, items, **options)
            else:
                results = whichpool.imap(moody, items, ordered=kind == "imap", **options)
                got = list(results)
            assert results.report.items == n
            assert {r.index for r in got if isinstance(r, whichpool.Failure)} == failed
            values = [r for r in got if not isinstance(r, whichpool.Failure)]
            assert (sorted(values) if kind == "unordered" else values) == expected
        ran = moody.ran()
        assert len(ran) == len(set(ran))
        assert not have & set(ran)
        now = recorded(journal)
        assert have <= now
        assert not (now - have) & bad
        have = now


def test_results_are_brought_to_the_disk_while_it_runs(journal, monkeypatch):
    synced = []
    real = os.fsync

    def noted(fd):
        synced.append((threading.current_thread().name, time.monotonic()))
        real(fd)

    monkeypatch.setattr(os, "fsync", noted)
    whichpool.map(sleepy, range(200), plan="loop", journal=journal)  # a second
    assert synced[-1][0] == threading.current_thread().name  # at the end
    meanwhile = [name for name, _ in synced[2:-1]]  # the file and its folder come first
    assert 2 <= len(meanwhile) <= 20
    assert threading.current_thread().name not in meanwhile


def test_after_ctrl_c_it_goes_on(script, tmp_path):
    made = script("""
        import os, signal, sys, time, whichpool
        def f(x):
            with open("calls", "a") as file:
                file.write(f"{x}\\n")
            if x == 40 and len(sys.argv) > 1:
                os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.002)
            return x
        try:
            print(list(whichpool.map(f, range(80), plan="loop", journal="j")) == list(range(80)))
        except KeyboardInterrupt:
            print("interrupted")
    """)
    assert made.run("now").stdout == "interrupted\n"
    kept = recorded(tmp_path / "j")
    assert set(range(39)) <= kept
    (tmp_path / "calls").unlink()
    assert made.run().stdout == "True\n"
    assert [int(x) for x in (tmp_path / "calls").read_text().split()] == sorted(set(range(80)) - kept)


# --- killed -------------------------------------------------------------------------------------------------

KILLED = """
    import json, os, select, signal, sys, time
    import whichpool

    def slow(x):
        fd = os.open(calls, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, f"{x}\\n".encode())
        os.close(fd)
        time.sleep(0.001)
        return x * x / 7

    def program(journal, plan, items, how):
        items = iter(range(300)) if items == "unknown" else range(300)
        results = list(getattr(whichpool, how)(slow, items, plan=plan, journal=journal))
        with open(calls + "-results", "w") as file:
            json.dump(results, file)

    # A process of its own for each program, forked from one that has loaded whichpool and never used it.
    for line in sys.stdin:
        calls, more, wait_s, *args = json.loads(line)
        pid = os.fork()
        if not pid:
            program(*args)
            sys.exit()
        # It is killed so many bytes of `calls` later, and a moment, if it has not ended by itself.
        handle = os.pidfd_open(pid)
        ended, size = False, os.path.getsize(calls) + more
        while not ended and os.path.getsize(calls) < size:
            ended = bool(select.select([handle], [], [], 0.001)[0])
        if not ended and not select.select([handle], [], [], wait_s)[0]:
            os.kill(pid, signal.SIGKILL)
        os.close(handle)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.mark.timeout(60 + KILLS)
def test_killed_again_and_again(script, tmp_path):
    """No result is lost or taken for another, and nothing that is in the journal runs again."""
    rng = random.Random(20261124)
    nursery = script(KILLED).start(stdin=subprocess.PIPE)
    expected = [x * x / 7 for x in range(300)]
    kills = ends = 0
    while kills < KILLS:
        journal, calls = tmp_path / f"journal-{ends}", tmp_path / f"calls-{ends}"
        calls.touch()
        code = None
        while code != 0:
            before = recorded(journal) if journal.exists() else set()
            seen = len(calls.read_text().splitlines())
            plan = rng.choice(["loop", [0, 2], [1, 1], "auto"])
            program = (str(journal), plan, rng.choice(["known", "unknown"]), rng.choice(["map", "imap"]))
            moment = (rng.choice([0, rng.randrange(300)]), rng.uniform(0, 0.02))
            print(json.dumps([str(calls), *moment, *program]), file=nursery.stdin, flush=True)
            code = int(nursery.stdout.readline() or -1)
            if code not in (0, -signal.SIGKILL):
                nursery.kill()
                pytest.fail(f"{program} ended with {code}: {nursery.communicate()[1]}")
            kills += code != 0
            ran = [int(line) for line in calls.read_text().splitlines()[seen:]]
            assert not set(ran) & before
            assert not before or before <= recorded(journal)
        ends += 1
        assert json.loads((tmp_path / f"calls-{ends - 1}-results").read_text()) == expected
        assert recorded(journal) == set(range(300))
    assert nursery.communicate() == ("", "")
    assert ends > 2


def test_the_lock_of_a_killed_run_may_be_held_for_a_moment(tmp_path, monkeypatch):
    """By the process that it was just starting: it has the descriptor until it is another program."""
    journal = tmp_path / "j"
    assert whichpool.map(abs, range(3), journal=journal) == [0, 1, 2]
    held = os.open(journal, os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    looked = []

    def let_go(_):
        looked.append(True)
        if len(looked) == 2:
            os.close(held)

    monkeypatch.setattr("whichpool.files.sleep", let_go)
    assert whichpool.map(abs, range(3), journal=journal) == [0, 1, 2]
    assert len(looked) == 2


def test_no_interpreter_loads_it_unasked():
    code = """
import sys, whichpool
whichpool.map(abs, range(10)); list(whichpool.imap(abs, iter(range(10))))
print([name for name in sys.modules if "journal" in name or "fingerprint" in name or name == "hashlib"])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"
