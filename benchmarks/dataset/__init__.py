"""whichpool's `process` beside what else runs a Python function over a dataset: `python -m benchmarks.dataset`."""
