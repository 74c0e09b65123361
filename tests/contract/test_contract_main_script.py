"""A plain script works: no guard, not imported again, functions and classes of `__main__` and of notebooks included."""

from __future__ import annotations

import pytest

import whichpool

BODY = """
import os, sys, pathlib
with open({imports!r}, "a") as file:
    file.write("imported\\n")

import whichpool

class Point:
    def __init__(self, x):
        self.x = x

class Odd(Exception):
    pass

FACTOR = 3

def helper(x):
    return FACTOR * x

def fn(x):
    return helper(x) + 1

def move(point):
    assert isinstance(point, Point)
    return Point(point.x + 1)

def odd(x):
    raise Odd(x)

plan = eval(sys.argv[1])
assert whichpool.map(fn, range(50), plan=plan) == [3 * x + 1 for x in range(50)]
assert whichpool.map(lambda x: helper(x), range(5), plan=plan) == [0, 3, 6, 9, 12]
moved = whichpool.map(move, [Point(1), Point(2)], plan=plan)
assert [p.x for p in moved] == [2, 3]
assert all(type(p) is Point for p in moved)
try:
    whichpool.map(odd, [1], plan=plan)
except Odd as error:
    assert error.args == (1,)
else:
    raise SystemExit("no exception")
assert list(whichpool.imap(fn, range(5), plan=plan)) == [1, 4, 7, 10, 13]
assert whichpool.map_reduce(fn, range(5), lambda a, b: a + b, plan=plan) == 35
print(__name__, "done")
"""


def test_a_script_without_a_guard(plan, script, tmp_path):
    imports = tmp_path / "imports"
    done = script(BODY.format(imports=str(imports))).run(repr(plan))
    assert done.stdout == "__main__ done\n"
    assert done.stderr == ""
    assert imports.read_text() == "imported\n"


def test_a_script_whose_name_is_no_module_name(process_plan, script):
    text = """
        import sys, whichpool
        def fn(x): return x + 1
        print(whichpool.map(fn, [1, 2], plan=eval(sys.argv[1])))
        """
    assert script(text, name="not a module-name.2.py").run(repr(process_plan)).stdout == "[2, 3]\n"


def test_a_program_on_the_command_line(process_plan, script):
    """`python -c` and standard input have no file that could be imported."""
    text = """
        import subprocess, sys
        code = "import whichpool; print(whichpool.map(lambda x: x + 1, [1, 2], plan=%s))" % sys.argv[1]
        wish = {"stdout": subprocess.PIPE, "text": True, "check": True}
        print(subprocess.run([sys.executable, "-c", code], **wish).stdout, end="")
        print(subprocess.run([sys.executable, "-"], input=code, **wish).stdout, end="")
        """
    assert script(text).run(repr(process_plan)).stdout == "[2, 3]\n[2, 3]\n"


def test_modules_beside_the_script_are_found(process_plan, script, tmp_path):
    (tmp_path / "beside_it.py").write_text("def fn(x):\n    return x * 2\n")
    text = """
        import sys, whichpool, beside_it
        print(whichpool.map(beside_it.fn, [1, 2], plan=eval(sys.argv[1])))
        print(whichpool.map(lambda x: beside_it.fn(x), [1, 2], plan=eval(sys.argv[1])))
        """
    assert script(text).run(repr(process_plan)).stdout == "[2, 4]\n[2, 4]\n"


def test_a_path_that_was_added_later_is_found(process_plan, tmp_path, monkeypatch):
    """Workers that are reused see what `sys.path` is now."""
    assert whichpool.map(abs, [-1], plan=process_plan) == [1]
    (tmp_path / "added_later.py").write_text("def fn(x):\n    return x * 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    import added_later

    assert whichpool.map(added_later.fn, [1, 2], plan=process_plan) == [3, 6]


def test_workers_see_the_working_directory_and_environment_of_now(process_plan, tmp_path, monkeypatch):
    import os

    def look(_):
        return os.getcwd(), os.environ.get("SOMETHING_OF_OURS")

    for value in ("one", "two"):
        folder = tmp_path / value
        folder.mkdir()
        monkeypatch.chdir(folder)
        monkeypatch.setenv("SOMETHING_OF_OURS", value)
        assert set(whichpool.map(look, range(4), plan=process_plan)) == {(str(folder), value)}


def test_what_workers_print_is_seen(process_plan, script):
    text = """
        import sys, whichpool
        whichpool.map(lambda x: print("item", x, flush=True), range(3), plan=eval(sys.argv[1]))
        """
    assert sorted(script(text).run(repr(process_plan)).stdout.split("\n")) == [
        "",
        "item 0",
        "item 1",
        "item 2",
    ]


def test_functions_typed_in_a_notebook(plan):
    """What a notebook does: cells are compiled one by one and run in one namespace called `__main__`."""
    cells = [
        "import math\nscale = 10",
        "class Cell:\n    def __init__(self, x):\n        self.x = x",
        "def fn(x):\n    return scale * math.floor(x)",
        "def wrap(cell):\n    return Cell(fn(cell.x))",
    ]
    namespace = {"__name__": "__main__"}
    for number, cell in enumerate(cells):
        exec(compile(cell, f"<ipython-input-{number}>", "exec"), namespace)
    assert whichpool.map(namespace["fn"], [1.5, 2.5], plan=plan) == [10, 20]
    namespace["scale"] = 100  # the cell is run again with another number
    assert whichpool.map(namespace["fn"], [1.5, 2.5], plan=plan) == [100, 200]
    exec(compile("def fn(x):\n    return 'redefined'", "<ipython-input-9>", "exec"), namespace)
    assert whichpool.map(namespace["fn"], [1.5], plan=plan) == ["redefined"]


@pytest.mark.parametrize(
    "ending", ["", "sys.exit(3)", "raise RuntimeError('the script failed')", "os._exit(4)"]
)
def test_nothing_outlives_the_script_however_it_ends(ending, script):
    text = f"""
        import os, sys, whichpool
        whichpool.map(abs, range(10), plan=(2, 2))
        results = whichpool.imap(abs, iter(int, 1), plan=(2, 2))
        next(results)
        {ending}
        """
    done = script(text).run(check=False, timeout=20)
    assert done.returncode == {"": 0, "sys.exit(3)": 3, "os._exit(4)": 4}.get(ending, 1)
    # that the processes are gone is what the fixture looks at


def test_a_script_that_is_killed_leaves_no_workers(process_plan, script):
    one = script(
        """
        import sys, time, whichpool
        def fn(x):
            print("running", flush=True)
            time.sleep(60)
        whichpool.map(fn, range(10), plan=eval(sys.argv[1]))
        """
    )
    process = one.start(repr(process_plan))
    try:
        assert process.stdout.readline() == "running\n"
    finally:
        process.kill()
        process.communicate()


def test_what_an_executor_was_given_is_done_when_the_script_ends(plan, script, tmp_path):
    """As with the standard library's executors."""
    done = script(
        "import sys, time, whichpool\n"
        "executor = whichpool.Executor(plan=eval(sys.argv[1]))\n"
        "def note(x):\n"
        "    time.sleep(0.002)\n"
        f"    with open({str(tmp_path / 'notes')!r}, 'a') as file:\n"
        "        file.write(f'{x}\\n')\n"
        "for x in range(40):\n"
        "    executor.submit(note, x)\n"
    ).run(repr(plan))
    assert done.stderr == ""
    assert sorted(map(int, (tmp_path / "notes").read_text().split())) == list(range(40))


def test_ctrl_c_in_an_executor_drops_what_has_not_begun(plan, script, tmp_path):
    done = script(
        "import sys, time, whichpool\n"
        "def note(x):\n"
        "    time.sleep(0.02)\n"
        f"    with open({str(tmp_path / 'notes')!r}, 'a') as file:\n"
        "        file.write(f'{x}\\n')\n"
        "try:\n"
        "    with whichpool.Executor(plan=eval(sys.argv[1])) as executor:\n"
        "        futures = [executor.submit(note, x) for x in range(20_000)]\n"
        "        futures[0].result()\n"
        "        raise KeyboardInterrupt\n"
        "except KeyboardInterrupt:\n"
        "    print('once', sum(future.cancelled() for future in futures) > 10_000)\n"
    ).run(repr(plan))
    assert done.stdout == "once True\n"
    assert done.stderr == ""
