"""What the pickler would copy into the pickle: wrapped where it is large, and otherwise left alone."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import pytest

from whichpool._worker import wire
from whichpool._worker.apart import LONG, Apart

LARGE = wire.OUT_OF_BAND_BYTES


def round_trip(items, apart=None, **how):
    """What arrives, and how many buffers went beside the pickle."""
    body, buffers = (apart or Apart()).dumps(items, **how)
    return pickle.loads(body, buffers=buffers), len(buffers), len(body)


big, growable = os.urandom(LARGE), bytearray(os.urandom(LARGE))


@pytest.mark.parametrize("number", [1, 2, 30])
@pytest.mark.parametrize(
    "item",
    [big, growable, (1, big), [big, growable], {"k": growable, "n": 1}, ((1, big), {"data": growable})],
    ids=["bytes", "bytearray", "tuple", "list", "dict", "call"],
)
def test_large_bytes_travel_beside_the_pickle(item, number):
    found, buffers, body = round_trip([item] * number)
    assert found == [item] * number
    assert type(found[0]) is type(item)
    assert buffers > 0
    assert body < LARGE
    assert all(each is found[0] for each in found)  # as they were one object before


def test_a_bytearray_is_the_receivers_own():
    sent = bytearray(LARGE)
    body, buffers = Apart().dumps([sent])
    memory = bytearray(buffers[0])
    (found,) = pickle.loads(body, buffers=[memory])
    found += b"more"
    memory[0] = 7
    assert (found[0], len(found), len(sent)) == (0, LARGE + 4, LARGE)


def test_the_items_themselves_stay_as_they_are():
    inner = [big, 1]
    items = [inner, (inner, 2), {"k": inner}]
    before = [inner, (inner, 2), {"k": inner}]
    found, buffers, _ = round_trip(items)
    assert items == before
    assert items[0] is inner
    assert found == before
    assert buffers == 1


@pytest.mark.parametrize(
    "items",
    [[1], [b"x" * (LARGE - 1)], list(range(100_000)), ["text" * 50] * 1000, [None], [], [[1.0] * 5000] * 5],
    ids=["number", "small bytes", "many", "texts", "none", "empty", "long list"],
)
def test_what_holds_nothing_large_is_pickled_as_ever(items):
    assert Apart().dumps(items)[0] == wire.dumps(items)[0]


def test_a_long_container_is_taken_to_hold_small_things():
    assert round_trip([[0] * (LONG - 1) + [big]])[1] == 1
    too_long = [0] * LONG + [big]
    assert round_trip([too_long])[:2] == ([too_long], 0)


def test_a_rest_goes_with_it():
    found, buffers, _ = round_trip([big], rest=({}, ["name"]))
    assert found == ([big], {}, ["name"])
    assert buffers == 1


class Own(bytes):
    pass


def test_subclasses_are_the_picklers_own_business():
    found, buffers, _ = round_trip([Own(big)])
    assert (type(found[0]), found[0], buffers) == (Own, big, 0)


def test_numpy_is_never_loaded_for_it():
    code = (
        "import sys; from whichpool._worker.apart import Apart; Apart(by_name=True).dumps([bytes(99_999)] * 9); "
        "sys.exit('numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# --- arrays that are files ----------------------------------------------------------------------------------


@pytest.fixture
def numbers(tmp_path):
    """A file of 100,000 numbers behind a header of 24 bytes."""
    np = pytest.importorskip("numpy")
    path = tmp_path / "numbers"
    path.write_bytes(b"h" * 24 + np.arange(100_000, dtype="<f8").tobytes())
    return path


def mapped(path, mode="r", **how):
    import numpy as np

    return np.memmap(path, "<f8", mode, 24, **{"shape": (1000, 100), **how})


def test_a_mapped_file_travels_by_name(numbers):
    array = mapped(numbers)
    (found,), buffers, body = round_trip([array], Apart(by_name=True))
    assert (buffers, body < 1000) == (0, True)
    assert (found.filename, found.mode, found.order if hasattr(found, "order") else "C") == (
        str(numbers),
        "r",
        "C",
    )
    assert (found == array).all()
    assert not found.flags.writeable


@pytest.mark.parametrize("mode", ["r+", "w+"])
def test_a_writable_map_is_one_on_the_other_side(numbers, mode):
    array = mapped(numbers, mode)
    (found,), _, body = round_trip([array], Apart(by_name=True))
    assert body < 1000
    found[3, 4] = -5.0
    assert array[3, 4] == -5.0


def test_a_column_major_map_stays_one(numbers):
    array = mapped(numbers, order="F")
    (found,), _, body = round_trip([array], Apart(by_name=True))
    assert body < 1000
    assert found.flags.f_contiguous
    assert (found == array).all()


def test_a_part_of_a_map_travels_by_name_if_it_has_no_gaps(numbers):
    array = mapped(numbers)
    (found,), _, body = round_trip([array[500:800]], Apart(by_name=True))
    assert body < 1000
    assert (found == array[500:800]).all()
    (found,), _, body = round_trip([array[::2]], Apart(by_name=True))
    assert body > 1000
    assert (found == array[::2]).all()


def test_what_its_file_does_not_show_travels_by_value(numbers):
    private = mapped(numbers, "c")
    private[0, 0] = 77
    (found,), _, _ = round_trip([private], Apart(by_name=True))
    assert found[0, 0] == 77


@pytest.mark.parametrize("fate", ["removed", "replaced", "shorter"])
def test_a_file_that_is_another_by_now_travels_by_value(numbers, fate):
    array = mapped(numbers)
    numbers.unlink()
    if fate == "replaced":
        numbers.write_bytes(bytes(24 + 800_000))
    elif fate == "shorter":
        numbers.write_bytes(bytes(24))
    (found,), _, body = round_trip([array], Apart(by_name=True))
    assert body > 1000 or fate == "none"
    assert (found == array).all()


def test_results_travel_by_value(numbers):
    """The worker may have removed the file by the time the result is read."""
    array = mapped(numbers)
    body, _ = Apart().dumps([array])
    numbers.unlink()
    assert (pickle.loads(body)[0] == array).all()
