"""Each peer, as its users would write it: ``peer(job, source, folder) -> value``, called twice in one process.

`folder` is a new one for each call, for what a peer stores (the cache of Hugging Face's datasets). Two workers each.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.dataset.inputs import NAMES
from benchmarks.dataset.jobs import JOBS, Job

WORKERS = 2
PARTS = 8
"""Into which peers cut their input: four for each worker, as `multiprocessing.Pool.map` does."""
CHUNK_ROWS = 10_000
"""Rows that are sent to a worker at a time, by the peers whose parent reads them."""

Peer = Callable[[Job, Path, Path], Any]


class DoesNotApply(Exception):
    """The peer has no way to do this job; or is not installed."""


# --- what is sent to workers: functions of a module, with the name of the job --------------------------------


def fold(name: str, values: Any) -> Any:
    """The results of the job's function on each of the values, combined."""
    job = JOBS[name]
    return job.fold(map(job.call, values))


def call(name: str, value: Any) -> Any:
    """The job's function."""
    return JOBS[name].call(value)


def fold_row_group(name: str, place: tuple[str, int]) -> Any:
    """`fold`, of the rows of one row group of a Parquet file."""
    import pyarrow.parquet as pq

    return fold(name, pq.ParquetFile(place[0]).read_row_group(place[1], use_threads=False).to_pylist())


def fold_lines(name: str, lines: Any) -> Any:
    """`fold`, of the lines of CSV; an empty part has the value 0."""
    rows = (row for row in csv.reader(lines) if row and row[0] != NAMES[0])
    return fold(name, (dict(zip(NAMES, row, strict=True)) for row in rows))


def fold_frame(name: str, frame: Any) -> Any:
    """The value of a data frame: of its rows, or of itself."""
    job = JOBS[name]
    return job.call(frame) if job.shape == "frame" else fold(name, frame.to_dict("records"))


def answered(name: str, batch: Any) -> dict[str, list[str]]:
    """Of a batch of items: one row with the combined value, as JSON."""
    return {"value": [json.dumps(fold(name, [str(item) for item in batch["item"]]))]}


# --- parts of the input, as the parent reads or names them ---------------------------------------------------


def read_parts(
    job: Job, source: Path, frames: bool = False
) -> tuple[Callable[[str, Any], Any], Iterator[Any]]:
    """What is sent to workers by those that send: a function of the job's name and a part, and the parts."""
    if job.shape == "csv" and not frames:
        return fold, _csv_chunks(source)
    if job.shape == "parquet":
        import pyarrow.parquet as pq

        groups = pq.ParquetFile(source).num_row_groups
        return fold_row_group, iter([(str(source), group) for group in range(groups)])
    if job.shape == "items":
        items = job.items(source)
        return fold, iter([items[n::PARTS] for n in range(min(PARTS, len(items)))])
    import pandas as pd

    return fold_frame, iter(pd.read_csv(source, chunksize=CHUNK_ROWS))


def _csv_chunks(source: Path) -> Iterator[list[dict[str, str]]]:
    with source.open(newline="") as file:
        rows = csv.DictReader(file)
        while chunk := list(islice(rows, CHUNK_ROWS)):
            yield chunk


# --- the peers -----------------------------------------------------------------------------------------------


def loop(job: Job, source: Path, folder: Path) -> Any:
    """A plain loop, in bounded memory."""
    if job.shape == "csv":
        with source.open(newline="") as file:
            return job.fold(map(job.call, csv.DictReader(file)))
    function, parts = read_parts(job, source)
    return job.fold(function(_name(job), part) for part in parts)


def mp_pool(job: Job, source: Path, folder: Path) -> Any:
    """`multiprocessing.Pool.imap` over chunks of rows that the parent reads, row groups, or parts of the items."""
    from multiprocessing import Pool

    function, parts = read_parts(job, source)
    with Pool(WORKERS) as pool:
        return job.fold(pool.imap(partial(function, _name(job)), parts))


def joblib(job: Job, source: Path, folder: Path) -> Any:
    """`joblib.Parallel` over the same."""
    from joblib import Parallel, delayed

    function, parts = read_parts(job, source)
    results = Parallel(n_jobs=WORKERS, return_as="generator")(delayed(function)(_name(job), p) for p in parts)
    return job.fold(results)


def hf_datasets(job: Job, source: Path, folder: Path) -> Any:
    """``datasets.map(num_proc=2)``, nothing cached from an earlier call."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import datasets

    datasets.disable_progress_bars()
    name = _name(job)
    if job.shape == "items":
        items = job.items(source)
        rows = datasets.Dataset.from_dict({"item": items})
        made = rows.map(
            partial(answered, name),
            batched=True,
            batch_size=-(-len(items) // PARTS),
            remove_columns=["item"],
            num_proc=WORKERS,
        )
        return job.fold(json.loads(value) for value in made["value"])
    kind = "parquet" if job.shape == "parquet" else "csv"
    table = datasets.load_dataset(kind, data_files=str(source), cache_dir=str(folder), split="train")
    if job.shape == "frame":
        made = table.with_format("pandas").map(
            partial(_frame_answered, name),
            batched=True,
            batch_size=CHUNK_ROWS,
            remove_columns=table.column_names,
            num_proc=WORKERS,
        )
        return job.fold(json.loads(value) for value in made.with_format(None)["value"])
    scored = table.map(partial(_scored, name), remove_columns=table.column_names, num_proc=WORKERS)
    return sum(scored.data.column("value").to_pylist())


def _frame_answered(name: str, frame: Any) -> dict[str, list[str]]:
    return {"value": [json.dumps(fold_frame(name, frame))]}


def _scored(name: str, row: Any) -> dict[str, Any]:
    return {"value": call(name, row)}


def dask_bag(job: Job, source: Path, folder: Path) -> Any:
    """`dask.bag`, on processes."""
    import dask.bag as db

    name = _name(job)
    if job.shape == "frame":
        raise DoesNotApply("a bag has rows, not data frames")
    if job.shape == "csv":
        lines = db.read_text(str(source), blocksize=max(1, -(-source.stat().st_size // PARTS)))
        bag = lines.map_partitions(_as_list, partial(fold_lines, name))
    else:
        function, parts = read_parts(job, source)
        bag = db.from_sequence(list(parts), npartitions=PARTS).map(partial(function, name))
    return job.fold(bag.compute(scheduler="processes", num_workers=WORKERS))


def _as_list(part: Any, function: Callable[[Any], Any]) -> list[Any]:
    return [function(part)]


def dask_dataframe(job: Job, source: Path, folder: Path) -> Any:
    """`dask.dataframe`, ``map_partitions``, on processes."""
    if job.shape == "items":
        raise DoesNotApply("the input is no table")
    import dask
    import dask.dataframe as dd
    import pandas as pd

    if job.shape == "parquet":
        frame = dd.read_parquet(str(source), split_row_groups=True)
    else:
        frame = dd.read_csv(
            str(source), blocksize=max(1, -(-source.stat().st_size // PARTS)), dtype=_dask_types(pd, source)
        )
    parts = [dask.delayed(fold_frame)(_name(job), part) for part in frame.to_delayed()]
    return job.fold(dask.compute(*parts, scheduler="processes", num_workers=WORKERS))


def _dask_types(pd: Any, source: Path) -> dict[str, str]:
    """A column with missing numbers is float in every block, whatever the first lines have."""
    head = pd.read_csv(source, nrows=100)
    return {name: "float64" for name in head.columns if head[name].dtype.kind in "if"}


def ray_data(job: Job, source: Path, folder: Path) -> Any:
    """`ray.data`, with as many CPUs as the others have workers."""
    import logging

    import ray

    if not ray.is_initialized():
        path = os.pathsep.join(sys.path)
        ray.init(
            num_cpus=WORKERS,
            include_dashboard=False,
            logging_level=logging.ERROR,
            log_to_driver=False,
            runtime_env={"env_vars": {"PYTHONPATH": path}},
        )
    ray.data.DataContext.get_current().enable_progress_bars = False
    name = _name(job)
    if job.shape == "items":
        items = [{"item": item} for item in job.items(source)]
        rows = ray.data.from_items(items, override_num_blocks=min(PARTS, len(items)))
        made = rows.map_batches(partial(answered, name), batch_size=None)
        return job.fold(json.loads(row["value"]) for row in made.take_all())
    data = ray.data.read_parquet(str(source)) if job.shape == "parquet" else ray.data.read_csv(str(source))
    if job.shape == "frame":
        made = data.map_batches(partial(_frame_answered, name), batch_format="pandas", batch_size=CHUNK_ROWS)
        return job.fold(json.loads(row["value"]) for row in made.take_all())
    return int(data.map(partial(_scored, name)).sum("value"))


def pandarallel(job: Job, source: Path, folder: Path) -> Any:
    """`pandarallel`'s ``parallel_apply``."""
    if job.shape == "frame":
        raise DoesNotApply("it applies a function to rows")
    import pandas as pd
    from pandarallel import pandarallel as it

    it.initialize(nb_workers=WORKERS, progress_bar=False, verbose=0)
    function = partial(call, _name(job))
    if job.shape == "items":
        return job.fold(pd.Series(job.items(source)).parallel_apply(function))
    frame = pd.read_csv(source) if job.shape == "csv" else pd.read_parquet(source)
    return int(frame.parallel_apply(function, axis=1).sum())


def polars(job: Job, source: Path, folder: Path) -> Any:
    """Polars' ``map_elements``."""
    if job.shape == "frame":
        raise DoesNotApply("it calls with elements, not with pandas' frames")
    import polars as pl

    if job.shape == "items":
        return job.fold(pl.Series(job.items(source)).map_elements(job.call, return_dtype=pl.Object))
    scan = pl.scan_csv(source, infer_schema_length=10_000) if job.shape == "csv" else pl.scan_parquet(source)
    row = pl.struct(pl.all()).map_elements(job.call, return_dtype=pl.Int64)
    return scan.select(row.sum()).collect().item()


def gnu_parallel(job: Job, source: Path, folder: Path) -> Any:
    """``parallel --pipepart`` with `benchmarks.dataset.pipe` at the end of each pipe; items are lines of a file."""
    if job.shape == "parquet":
        raise DoesNotApply("it cuts text")
    name = _name(job)
    path = source
    if job.shape == "items":
        path = folder / "items"
        path.write_text("".join(f"{item}\n" for item in job.items(source)))
    block = max(1, -(-path.stat().st_size // PARTS))
    command = shlex.join([sys.executable, "-m", "benchmarks.dataset.pipe", name])
    header = ["--header", ":"] if job.shape != "items" else []
    options = ["--will-cite", f"-j{WORKERS}", "--pipepart", "-a", str(path), "--block", str(block)]
    done = subprocess.run(
        ["parallel", *options, *header, command], stdout=subprocess.PIPE, text=True, check=True
    )
    return job.fold(json.loads(line) for line in done.stdout.splitlines())


def ours(job: Job, source: Path, folder: Path) -> Any:
    """`whichpool.process`; a combined value, or, without one, an output folder."""
    import whichpool

    arguments = dict(job.ours)
    if "combine" not in arguments:
        out = os.environ["BENCHMARK_OUT"]
        os.rmdir(out)
        arguments["output"] = out
    report = whichpool.process(source, **arguments)
    if os.environ.get("BENCHMARK_SAY"):
        print(report, file=sys.stderr)
    return report.value


def _name(job: Job) -> str:
    return next(name for name, each in JOBS.items() if each is job)


OURS, BASE = "whichpool", "loop"
PEERS: dict[str, tuple[Peer, str | None]] = {
    BASE: (loop, None),
    "mp.Pool": (mp_pool, None),
    "joblib": (joblib, "joblib"),
    "datasets": (hf_datasets, "datasets"),
    "dask.bag": (dask_bag, "dask"),
    "dask.dataframe": (dask_dataframe, "dask"),
    "ray": (ray_data, "ray"),
    "pandarallel": (pandarallel, "pandarallel"),
    "polars": (polars, "polars"),
    "parallel": (gnu_parallel, None),
    OURS: (ours, None),
}
"""Name -> (how it does a job, the module that it needs)."""


def is_installed(peer: str) -> bool:
    """Whether the peer can be run here."""
    if peer == "parallel":
        return shutil.which("parallel") is not None
    module = PEERS[peer][1]
    return module is None or importlib.util.find_spec(module) is not None
