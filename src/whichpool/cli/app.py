"""The commands and their options. What they do is loaded when they are called."""

from __future__ import annotations

import signal
import sys
import threading
from _thread import interrupt_main
from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import click

import whichpool
from whichpool.cli.endings import FAILED, INTERRUPTED, TERMINATED, USAGE, Ending
from whichpool.cli.get_command import get
from whichpool.cli.options import Parsed, debug_option, with_options
from whichpool.cli.standard import output, talking
from whichpool.cli.talk import say

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

__all__ = ["app"]


def _plan(ctx: click.Context, param: click.Parameter, value: str) -> str | tuple[int, int]:
    """``2x8`` as ``(2, 8)``; numbers that cannot be are refused by whichpool itself."""
    if value in ("auto", "loop", "threads", "processes"):
        return value
    processes, x, threads = value.lower().partition("x")
    if x and processes.isdecimal() and threads.isdecimal():
        return int(processes), int(threads)
    raise click.BadParameter(
        f"{value!r} is not auto, loop, threads, processes, or PxT such as 2x8.", ctx, param
    )


class App(Parsed, click.Group):
    """A group that ends with the documented exit codes, and without tracebacks unless asked."""

    command_class = Parsed

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and take what click would report as its own, in its own way."""
        asked: list[int] = []  # to end, by these signals
        ctx.ensure_object(dict)["asked"] = asked
        try:
            with _ended_by_sigterm(asked):
                return super().invoke(ctx)
        except KeyboardInterrupt as error:
            if asked:
                raise Ending(TERMINATED, "terminated") from error
            raise Ending(INTERRUPTED, "interrupted") from error
        except (EOFError, OSError) as error:
            raise Ending(FAILED, _unexpected(error)) from error

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> NoReturn:
        """As click's, but every way out is one of the documented exit codes."""
        state = extra.setdefault("obj", {})
        try:
            code = super().main(
                args, prog_name, complete_var, False, windows_expand_args=windows_expand_args, **extra
            )
        except click.ClickException as error:
            with talking():
                error.show()
            code = USAGE
        except Ending as error:
            code = error.code
            if error.message:
                if state.get("debug"):
                    _show(error.__cause__)
                say(error.message)
        except click.Abort:
            code = INTERRUPTED
        except Exception as error:
            if state.get("debug"):
                _show(error)
            say(_unexpected(error))
            code = FAILED
        sys.exit(code if isinstance(code, int) else 0)


@contextmanager
def _ended_by_sigterm(asked: list[int]) -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, and is noted; without it a half-written file would stay behind."""

    def end(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        interrupt_main()  # whichpool sees to it that Ctrl-C is not lost

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _show(error: BaseException | None) -> None:
    from traceback import print_exception

    if error is not None:
        with talking():
            print_exception(error)


def _unexpected(error: BaseException) -> str:
    return f"unexpected {type(error).__qualname__}: {error} (--debug shows where)"


# What map and explain share.
work_options = with_options(
    click.argument("target", metavar="MODULE:FUNCTION"),
    click.argument("items", required=False, metavar="[ITEMS|-]"),
    click.option("--json", "as_json", is_flag=True, help="Each line of ITEMS is a JSON value."),
    click.option("--glob", "pattern", metavar="PATTERN", help="The items are the paths that match, sorted."),
    click.option("--range", "numbers", type=click.IntRange(0), metavar="N", help="The items are 0 to N-1."),
    click.option(
        "--plan",
        metavar="PLAN",
        callback=_plan,
        default="auto",
        help="auto, loop, threads, processes, or PxT: 2x8.",
    ),
    click.option("--limit", type=click.IntRange(1), metavar="N", help="Most items in progress at once."),
    click.option(
        "--on-error", type=click.Choice(["raise", "return"]), default="raise", help="return: go on."
    ),
    click.option(
        "--shared", type=click.Choice(["guard", "ok"]), default="guard", help="ok: allow shared writes."
    ),
    click.option("--seed", type=int, metavar="N", help="Seed random (and NumPy) for each item."),
    click.option("--report", metavar="FILE", help="Write the report as JSON; - is standard output."),
    click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors."),
    debug_option,
)


@click.group(cls=App, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(whichpool.__version__, prog_name="whichpool", message="%(prog)s %(version)s")
@debug_option
def app() -> None:
    """Threads or processes? whichpool measures the function while it already runs, and acts on it.

    Results go to standard output, talk to standard error. Exit codes: 0 done, 1 the function raised or items
    failed, 2 wrong usage, 3 something could not be read or written, 130 interrupted; `whichpool get --help` has
    those of downloads.
    """


@app.command("map")
@work_options
@click.option("-o", "--output", "path", metavar="FILE", help="Write the results here, whole or not at all.")
@click.option("--text", "as_text", is_flag=True, help="Write str(result) instead of JSON.")
@click.option(
    "--journal", metavar="FILE", help="Record finished items here; run again, only what is missing is run."
)
@click.option("--no-progress", is_flag=True, help="No progress bar, even on a terminal.")
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="How long one item may take.",
)
@click.option(
    "--deadline",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="How long the whole may take.",
)
@click.option(
    "--retries",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="How often an item that failed is tried again.",
)
@click.option(
    "--max-worker-memory",
    metavar="SIZE",
    help="Replace a worker process that holds more: 500MB, 2GB.",
)
@click.option(
    "--max-items-per-worker",
    type=click.IntRange(1),
    metavar="N",
    help="Replace a worker process that has run so many.",
)
def map_command(
    target: str,
    items: str | None,
    as_json: bool,
    pattern: str | None,
    numbers: int | None,
    report: str | None,
    quiet: bool,
    path: str | None,
    as_text: bool,
    no_progress: bool,
    **options: Any,
) -> None:
    """Call FUNCTION with each item; write the results as JSON lines, in order.

    \b
    whichpool map math:sqrt numbers.jsonl --json
    whichpool map thumbs.py:shrink --glob 'photos/*.jpg' -o sizes.jsonl
    cat urls | whichpool map crawl:fetch - --on-error return
    """
    from whichpool.cli.items import choose
    from whichpool.cli.output import result_stream
    from whichpool.cli.run import Output, map_items
    from whichpool.cli.target import load

    where = Output(path, report, as_text, not no_progress, quiet)
    where.check()
    # What importing the function's module prints is no result either.
    with result_stream() as stream:
        function = load(target)
        chosen = choose(items, as_json=as_json, pattern=pattern, numbers=numbers)
        map_items(function, chosen, where, options, stream)


def _where(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> list[tuple[str, str, Any]]:
    from whichpool.cli.process import condition

    try:
        return [condition(text) for text in value]
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


def _columns(ctx: click.Context, param: click.Parameter, value: str | None) -> list[str] | None:
    return [name.strip() for name in value.split(",")] if value is not None else None


@app.command()
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@click.argument("target", metavar="MODULE:FUNCTION")
@click.option(
    "-o",
    "--output",
    "path",
    metavar="PATH",
    help="The output: a file, or a folder; with --combine, the value.",
)
@click.option("--combine", metavar="MODULE:FUNCTION", help="Make one value of all: combine(earlier, later).")
@click.option(
    "--batch", metavar="FORMAT", help="What FUNCTION takes: arrow, pandas, dicts, dict, lines, path, ..."
)
@click.option("--format", metavar="FORMAT", help="What the input is: csv, jsonl, text, parquet, file.")
@click.option("--columns", metavar="A,B", callback=_columns, help="Read only these columns.")
@click.option("--header", metavar="A,B", callback=_columns, help="The columns of CSV without a header row.")
@click.option(
    "--where", metavar="CONDITION", multiple=True, callback=_where, help="Parquet: only rows where it holds."
)
@click.option("--delimiter", metavar="CHARACTER", help="CSV: what stands between fields.")
@click.option("--encoding", default="utf-8", show_default=True, help="Of text.")
@click.option(
    "--bad", type=click.Choice(["raise", "skip", "quarantine"]), default="raise", help="Bad records."
)
@click.option("--max-bad", metavar="N|SHARE", help="How many records may be bad: 10, or 0.1%.")
@click.option("--quarantine", metavar="FILE", help="Where bad records go, as JSON lines.")
@click.option("--unify", is_flag=True, help="Fit parts with different columns to one another.")
@click.option("--output-format", metavar="FORMAT", help="Of the parts in an output folder.")
@click.option(
    "--journal", metavar="FOLDER", help="Where finished splits are kept; by default beside the output."
)
@click.option("--restart", is_flag=True, help="Drop what an earlier run has done.")
@click.option("--why-rerun", is_flag=True, help="Say what would run, and why; run nothing.")
@click.option("--plan", metavar="PLAN", callback=_plan, default="auto", help="As for map.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Most splits in progress at once.")
@click.option(
    "--shared", type=click.Choice(["guard", "ok"]), default="guard", help="ok: allow shared writes."
)
@click.option("--seed", type=int, metavar="N", help="Seed random (and NumPy) for each split.")
@click.option(
    "--unordered", "ordered", flag_value=False, default=True, type=bool,
    help="Let the records follow one another as they are done.",
)  # fmt: skip
@click.option("--no-progress", is_flag=True, help="Neither a bar nor lines that say how far it is.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
@debug_option
def process(
    sources: tuple[str, ...],
    target: str,
    path: str | None,
    combine: str | None,
    delimiter: str | None,
    no_progress: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Call FUNCTION with the batches of a dataset, on every core; write an output, or combine one value.

    \b
    whichpool process 'flights-*.csv' mymodule:clean -o clean.parquet
    whichpool process flights.parquet mymodule:count --combine mymodule:add
    whichpool process photos/ mymodule:thumbnail -o thumbs/
    """
    from whichpool.cli.output import result_stream
    from whichpool.cli.process import process_dataset
    from whichpool.cli.target import load

    if path is None and combine is None:
        raise Ending(USAGE, "give -o, where the output goes, or --combine, which makes one value")
    if combine is not None and path is None:
        output()
    if delimiter is not None:
        options["dialect"] = {"delimiter": delimiter.replace("\\t", "\t")}
    if options["limit"] is None:
        del options["limit"]
    with result_stream() as stream:
        process_dataset(
            sources,
            load(target),
            load(combine) if combine is not None else None,
            path,
            quiet=quiet,
            progress=not no_progress,
            stdout=stream,
            options=options,
        )


@app.command()
@work_options
@click.option(
    "--budget", "budget_s", type=click.FloatRange(0, min_open=True), default=1.0, metavar="SECONDS",
    show_default=True, help="How long the sample may take.",
)  # fmt: skip
def explain(
    target: str,
    items: str | None,
    as_json: bool,
    pattern: str | None,
    numbers: int | None,
    report: str | None,
    quiet: bool,
    budget_s: float,
    **options: Any,
) -> None:
    """Run FUNCTION on a sample of the items only, and say which plan it would get and why.

    \b
    whichpool explain thumbs.py:shrink --glob 'photos/*.jpg'
    whichpool explain crawl:fetch urls.txt --report - | jq .verdict.plan
    """
    from whichpool.cli.items import choose
    from whichpool.cli.output import result_stream
    from whichpool.cli.run import Output, explain_items
    from whichpool.cli.target import load

    output()
    with result_stream() as stream:
        function = load(target)
        chosen = choose(items, as_json=as_json, pattern=pattern, numbers=numbers)
        explain_items(function, chosen, Output(report=report, quiet=quiet), options, budget_s, stream)


@app.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@debug_option
def doctor(as_json: bool) -> None:
    """Say what machine this is: cores and why that many, GIL, memory, what workers cost to start."""
    from whichpool.cli.doctor import examine

    examine(as_json=as_json)


@app.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@debug_option
def demo(as_json: bool) -> None:
    """Show it at work, in under a minute and without a network: four jobs over Python's own source files.

    It fetches them from a small server of its own, parses them, compresses them, and fetches and parses them;
    first a part of each in the plain loop, then all of it with whichpool.
    """
    from whichpool.cli.demo import run

    run(as_json=as_json)


app.add_command(get)
