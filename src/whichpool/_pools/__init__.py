"""Where the work runs.

    base       the contract: what a pool takes from the run's work and gives back
    threads    threads of this process
    processes  worker processes, each with one or more threads
    fleet      the worker processes that this interpreter has, in use or waiting to be used again

The loop needs no pool: it is the caller's thread taking batches itself (`_run.inline`).
"""
