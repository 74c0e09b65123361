"""The journal's file and fingerprints: what is written is read again, what is damaged is never taken for a result."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import types
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whichpool import JournalMismatch, PlanError
from whichpool._run import journal as journal_module
from whichpool._run.fingerprint import fingerprint, of_function
from whichpool._run.journal import Journal

HEADING = {"name": "m.f", "code": {"m.f": "1"}, "values": {}, "python": "p", "seed": None, "iterables": "one"}
PRINT = b"0123456789abcdef"


def entry(index, value):
    return index, PRINT, pickle.dumps(value)


def everything(path):
    """All that a journal has, by index."""
    journal = Journal(str(path), HEADING)
    try:
        return {index: pickle.loads(journal.load(index)[1]) for index in journal.index}
    finally:
        journal.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal"


def filled(path, values):
    """A journal with these results; where each record ends."""
    journal = Journal(str(path), HEADING)
    ends = [os.path.getsize(path)]
    for index, value in enumerate(values):
        journal.append([entry(index, value)])
        ends.append(os.path.getsize(path))
    journal.close()
    return ends


# --- the file -----------------------------------------------------------------------------------------------


def test_what_is_recorded_is_there_when_it_is_opened_again(path):
    values = [None, 1, "two", [3.0], b"\0" * 100_000]
    filled(path, values)
    assert everything(path) == dict(enumerate(values))


def test_records_are_in_the_file_before_anything_is_synced(path):
    journal = Journal(str(path), HEADING)
    before = os.path.getsize(path)
    journal.append([entry(0, "here")])
    assert os.path.getsize(path) > before
    journal.close()


def test_it_is_synced_only_when_there_is_something(path, monkeypatch):
    journal = Journal(str(path), HEADING)
    synced = []
    monkeypatch.setattr(journal_module.os, "fsync", synced.append)
    journal.sync()
    assert not synced
    assert journal.append([entry(0, 0)])
    assert not journal.append([entry(1, 1)])  # it is known already that there is something
    journal.sync()
    assert len(synced) == 1
    journal.sync()
    assert len(synced) == 1
    journal.append([entry(2, 2)])
    journal.close()
    assert len(synced) == 2


def test_who_records_does_not_wait_for_the_disk(path, monkeypatch):
    journal = Journal(str(path), HEADING)
    journal.append([entry(0, 0)])
    entered, leave = threading.Event(), threading.Event()

    def slow(fd):
        entered.set()
        assert leave.wait(20)

    monkeypatch.setattr(journal_module.os, "fsync", slow)
    syncing = threading.Thread(target=journal.sync)
    syncing.start()
    assert entered.wait(20)
    journal.append([entry(1, 1)])  # would hang here
    leave.set()
    syncing.join()
    journal.close()
    monkeypatch.undo()
    assert everything(path) == {0: 0, 1: 1}


VALUES = [0, "one", {"two": 2}, [3] * 50, None, b"five" * 30]


@settings(max_examples=150)
@given(data=st.data())
def test_a_file_cut_off_anywhere(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("cut") / "journal"
    ends = filled(path, VALUES)
    size = data.draw(st.integers(0, ends[-1]))
    os.truncate(path, size)
    if 0 < size < len(journal_module.FAMILY):  # that little could be anybody's
        with pytest.raises(JournalMismatch, match="no journal"):
            everything(path)
        return
    whole = max([n for n, end in enumerate(ends) if end <= size], default=0)
    assert everything(path) == dict(enumerate(VALUES[:whole]))
    # It was brought back to the last whole record, and goes on from there.
    assert os.path.getsize(path) == (ends[whole] if size >= ends[0] else ends[0])
    journal = Journal(str(path), HEADING)
    journal.append([entry(99, "more")])
    journal.close()
    assert everything(path) == {**dict(enumerate(VALUES[:whole])), 99: "more"}


@settings(max_examples=300)
@given(data=st.data())
def test_a_byte_that_is_not_what_it_was(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("flipped") / "journal"
    ends = filled(path, VALUES)
    place = data.draw(st.integers(0, ends[-1] - 1))
    was = path.read_bytes()
    path.write_bytes(was[:place] + bytes([was[place] ^ data.draw(st.integers(1, 255))]) + was[place + 1 :])
    damaged = path.read_bytes()
    try:
        got = everything(path)
    except JournalMismatch:
        assert place < ends[0]
        assert path.read_bytes() == damaged  # as it was
        return
    assert place >= ends[0]
    hurt = max(n for n, end in enumerate(ends) if end <= place)
    assert got == {index: value for index, value in enumerate(VALUES) if index != hurt}


@settings(max_examples=100)
@given(tail=st.binary(max_size=200), again=st.integers(0, len(VALUES) - 1))
def test_what_is_no_record_is_cut_off(tmp_path_factory, tail, again):
    """Not even a copy of a good record passes for one in another place."""
    path = tmp_path_factory.mktemp("tail") / "journal"
    ends = filled(path, VALUES)
    copy = path.read_bytes()[ends[again] : ends[again + 1]]
    for more in (tail, b"\0" * len(tail), tail + copy):
        with open(path, "ab") as file:
            file.write(more)
        assert everything(path) == dict(enumerate(VALUES))
        assert os.path.getsize(path) == ends[-1]


def test_a_journal_inside_a_result_is_only_a_result(path, tmp_path):
    inner = tmp_path / "inner"
    filled(inner, VALUES)
    ends = filled(path, ["first", inner.read_bytes(), "last"])
    data = bytearray(path.read_bytes())
    data[ends[1]] ^= 1  # the mark of the record that holds the other journal
    path.write_bytes(data)
    assert everything(path) == {0: "first", 2: "last"}


def test_damage_is_counted(path):
    ends = filled(path, VALUES)
    data = bytearray(path.read_bytes())
    data[ends[2] + 30] ^= 1
    path.write_bytes(data)
    journal = Journal(str(path), HEADING)
    assert journal.damaged == ends[3] - ends[2]
    journal.close()


# --- what cannot be -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", [b"x,y\n1,2\n", b"\0" * 100, b"w", b"whichpool is nice\n", b"whichpool journal 9\nabcdefgh"]
)
def test_a_file_that_is_no_journal_is_left_alone(path, text):
    path.write_bytes(text)
    with pytest.raises(JournalMismatch, match=r"no journal|another version"):
        Journal(str(path), HEADING)
    assert path.read_bytes() == text


def test_a_folder_and_a_path_that_cannot_be_written(tmp_path):
    for bad in (tmp_path, tmp_path / "missing" / "journal", "/dev/null", "a\0b"):
        with pytest.raises(PlanError, match="journal="):
            Journal(str(bad), HEADING)


def test_only_one_at_a_time(path):
    first = Journal(str(path), HEADING)
    with pytest.raises(PlanError, match="in use"):
        Journal(str(path), HEADING)
    first.close()
    Journal(str(path), HEADING).close()


def test_another_process_is_refused_until_the_owner_is_dead(path):
    code = """
        import sys
        from whichpool._run.journal import Journal
        journal = Journal(sys.argv[1], {"name": "m.f", "code": {"m.f": "1"}, "values": {}, "python": "p",
            "seed": None, "iterables": "one"})
        print("open", flush=True)
        sys.stdin.read()
    """
    owner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert owner.stdout.readline() == b"open\n"
        with pytest.raises(PlanError, match="in use"):
            Journal(str(path), HEADING)
    finally:
        owner.kill()
        owner.communicate()
    Journal(str(path), HEADING).close()


def test_a_full_disk_loses_nothing_of_what_was_recorded(path, monkeypatch):
    journal = Journal(str(path), HEADING)
    journal.append([entry(0, "kept")])
    size = os.path.getsize(path)
    write = os.pwrite

    def full(fd, data, place):
        if len(data) > 10:
            return write(fd, data[:10], place)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(journal_module.os, "pwrite", full)
    with pytest.raises(OSError, match=r"No space left on device.*kept") as caught:
        journal.append([entry(1, "lost")])
    assert caught.value.errno == errno.ENOSPC
    assert os.path.getsize(path) == size
    monkeypatch.undo()
    journal.append([entry(1, "found")])
    journal.close()
    assert everything(path) == {0: "kept", 1: "found"}


def test_of_a_group_what_there_is_room_for_is_recorded(path, monkeypatch):
    journal = Journal(str(path), HEADING)
    write = os.pwrite

    def nearly_full(fd, data, place):
        room = 1000 - place
        if room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data[:room], place)

    monkeypatch.setattr(journal_module.os, "pwrite", nearly_full)
    with pytest.raises(OSError, match="No space left on device"):
        journal.append([entry(n, "x" * 200) for n in range(10)])
    journal.close()
    monkeypatch.undo()
    assert everything(path) == dict.fromkeys(range(len(everything(path))), "x" * 200)
    assert 700 < os.path.getsize(path) <= 1000


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"python": "q"}, "written by p"),
        ({"name": "m.g"}, "function m.f, not of m.g"),
        ({"code": {"m.f": "2"}}, "code of m.f"),
        ({"code": {"m.f": "1", "m.h": "1"}}, "code of m.h"),
        ({"values": {"m.K": "1"}}, "value of m.K"),
        ({"seed": 4}, "seed=None, not seed=4"),
        ({"iterables": "several"}, "iterables"),
    ],
)
def test_another_call_is_refused_and_told_what_differs(path, change, text):
    filled(path, VALUES)
    was = path.read_bytes()
    with pytest.raises(JournalMismatch, match=text) as caught:
        Journal(str(path), {**HEADING, **change})
    assert "another path, or delete" in str(caught.value)
    assert path.read_bytes() == was


# --- fingerprints -------------------------------------------------------------------------------------------

PRINTS = """
    import sys
    from functools import partial
    from whichpool._run.fingerprint import fingerprint, of_function

    LIMITS = {"alpha", "beta", "gamma", "delta"}

    class Holds:
        def __init__(self):
            self.names = frozenset("abcdefgh")
            self.me = self
        def call(self, x):
            return x in self.names or helper(x)

    class Named(set):
        pass

    def helper(x):
        return x in LIMITS

    def make(names):
        def inner(x, more={"q", "r", "s"}):
            return x in {"ab", "cd", "ef"} and x in names or inner(x) or helper(x)
        return inner

    class Local:
        pass

    local = make({"u", "v", "w"})
    for value in [{"a", "b", "c"}, [frozenset("xyz"), ({"p", "q"}, 1)], Holds(), Named("klmno"), local, Holds().call,
                  partial(helper, {"a", "b"}), Local(), lambda x: {"y", "z"}, {"k": {"v", "w"}}, sys]:
        print(fingerprint(value).hex())
    for fn in [local, Holds().call, partial(local, more={"m", "n"}), len, Holds, lambda x: helper(x)]:
        print(of_function(fn))
"""


def test_fingerprints_are_the_same_in_every_process(tmp_path):
    script = tmp_path / "prints.py"
    seen = set()
    for hash_seed, lines_above in (("1", 0), ("2", 7), ("3", 0)):
        script.write_text("\n" * lines_above + textwrap.dedent(PRINTS))
        done = subprocess.run(
            [sys.executable, str(script)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        seen.add(done.stdout)
    assert len(seen) == 1
    lines = seen.pop().splitlines()
    assert len(lines) == 17
    assert len(set(lines)) == len(lines)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(PLAIN)
def test_equal_values_have_equal_fingerprints_whoever_shares_what(value):
    copy = pickle.loads(pickle.dumps(value))
    assert fingerprint(copy) == fingerprint(value)
    assert fingerprint([value, value]) == fingerprint([value, copy])


@given(PLAIN, PLAIN)
def test_different_values_have_different_fingerprints(one, other):
    assert (fingerprint(one) == fingerprint(other)) == (
        pickle.dumps(pickle.loads(pickle.dumps(one))) == pickle.dumps(pickle.loads(pickle.dumps(other)))
    ) or one == other


def test_what_contains_itself_or_is_shared_without_end():
    ring = []
    ring.append(ring)
    assert fingerprint(ring) == fingerprint(ring)
    deep = []
    for _ in range(60):  # 2**60 leaves, if each is written whenever it is met
        deep = [deep, deep]
    assert len(fingerprint(deep)) == 16


def test_what_cannot_be_pickled_has_none():
    with pytest.raises(TypeError):
        fingerprint(threading.Lock())


def compiled(text, **names):
    """The function ``f`` of a module of its own."""
    module = types.ModuleType("fingerprinted_for_a_test")
    vars(module).update(names)
    exec(textwrap.dedent(text), vars(module))
    return module.f


BASE = """
    K = 3
    def g(x):
        return x + K
    def f(x, by=2):
        return g(x) * by
"""


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("g(x) * by", "g(x) / by", "code"),
        ("x + K", "x - K", "code"),
        ("x + K", "x + K + 1", "code"),
        ("by=2", "by=3", "values"),
        ("K = 3", "K = 4", "values"),
    ],
)
def test_a_change_shows(old, new, what):
    was, now = of_function(compiled(BASE)), of_function(compiled(BASE.replace(old, new)))
    assert [key for key in was if was[key] != now[key]] == [what]


def test_what_does_not_matter_does_not_show():
    moved = "\n\n\n" + BASE.replace("K = 3", "K = 3  # three\n    unused = 5")
    assert of_function(compiled(BASE)) == of_function(compiled(moved))


def test_partial_self_and_closure_are_told_apart():
    def make(n):
        return lambda x: x + n

    class Adds:
        def __init__(self, n):
            self.n = n

        def add(self, x):
            return x + self.n

        __call__ = add

    for one, other in [
        (make(1), make(2)),
        (partial(pow, 1), partial(pow, 2)),
        (partial(pow, exp=1), partial(pow, exp=2)),
        (Adds(1), Adds(2)),
        (Adds(1).add, Adds(2).add),
    ]:
        assert of_function(one)["values"] != of_function(other)["values"]
    for one, other in [(make(1), make(1)), (Adds(1), Adds(1)), (Adds(1).add, Adds(1).add)]:
        assert of_function(one) == of_function(other)


def test_what_is_held_and_cannot_be_pickled_stands_by_its_type():
    lock = threading.Lock()

    def f(x):
        with lock:
            return x

    values = of_function(f)["values"]
    assert any("lock" in value for value in values.values())
    assert of_function(f) == of_function(f)
