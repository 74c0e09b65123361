"""The end of a pipe of GNU parallel's: ``python -m benchmarks.dataset.pipe JOB`` reads a block, prints the value."""

from __future__ import annotations

import json
import sys

from benchmarks.dataset import peers
from benchmarks.dataset.jobs import JOBS


def main() -> None:
    """The block is CSV with a header, or a line for each item."""
    name = sys.argv[1]
    if JOBS[name].shape == "frame":
        import pandas as pd

        value = peers.fold_frame(name, pd.read_csv(sys.stdin))
    elif JOBS[name].shape == "csv":
        value = peers.fold_lines(name, sys.stdin)
    else:
        value = peers.fold(name, (line.rstrip("\n") for line in sys.stdin))
    print(json.dumps(value))


if __name__ == "__main__":
    main()
