"""What an earlier run has left: where it is, whether it is of the same job, and what would run again."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple

from whichpool.dataset.code import code_of
from whichpool.dataset.failures import BadOutput
from whichpool.dataset.journal import Journal
from whichpool.dataset.records import ProcessReport

if TYPE_CHECKING:
    from whichpool.dataset.planning import Job
    from whichpool.dataset.records import Reading, Split

__all__ = ["Identity", "identity_of", "opened", "why"]


class Identity(NamedTuple):
    """What results depend on; as `Journal.begin` and `Journal.compare` take it."""

    code: dict[str, str]
    parameters: dict[str, str]
    files: dict[str, str]


def identity_of(job: Job, reading: Reading) -> Identity:
    """Of a job whose splits are read so."""
    goal, target = job.goal, job.target
    parameters = {
        **{field.name: repr(getattr(reading, field.name)) for field in fields(reading)},
        "split_bytes": repr(job.split_bytes),
        "bad": goal.bad,
        "output": repr((target.kind, target.header)),
        "seed": repr(job.engine.get("seed")),
    }
    files = {each.path: f"{each.size_bytes} bytes, {each.mtime_ns} ns" for each in job.sources}
    code = code_of(goal.function)
    if goal.combine is not None:
        code |= {f"combine: {name}": digest for name, digest in code_of(goal.combine).items()}
    return Identity(code, parameters, files)


def opened(output: str | None, journal: Any) -> Journal | None:
    """The folder in which parts and receipts are, held by this run.

    Args:
        output: Where the output will be; ``None``: there is none.
        journal: The folder that the caller gave; ``None``: one beside the output.

    Raises:
        BadOutput: The journal is on another file system.
        OutputBusy: Another run holds it.
    """
    if journal is not None:
        made = Journal(os.fspath(journal))
        beside = os.path.dirname(os.path.abspath(output)) if output is not None else made.folder
        if os.stat(made.folder).st_dev != os.stat(beside).st_dev:
            made.close(remove=not made.has_any)
            raise BadOutput(
                f"the journal {made.folder} and the output must be on one file system, so that one can "
                "become the other at once"
            )
        return made
    if output is None:
        return None
    head, name = os.path.split(os.path.abspath(output))
    return Journal(os.path.join(head, f".{name}.whichpool"))


def why(splits: list[Split], kept: Journal, identity: Identity) -> ProcessReport:
    """What would run, and why."""
    refused = kept.compare(*identity)
    done = 0 if refused else len(kept.look(splits))
    if kept.fresh:
        notes = ["no earlier run at this output was left unfinished: all would run"]
    else:
        notes = [f"{done} of {len(splits)} splits have been done, and {len(splits) - done} would run"]
        notes += [f"since the earlier run: {change}" for change in kept.changes]
        if refused:
            notes.append("refused as it is: restart drops what has been done")
    return ProcessReport(None, None, 0, 0, 0, 0, len(splits), done, 0.0, None, tuple(notes))
