"""The worker process and its wire.

    launch  (parent)    starts a clean fork server, asks it for workers
    server  (child)     the fork server: forks, reaps, tells how each worker ended
    main    (child)     one worker: takes batches, runs them, sends what came of them
    wire    (both)      frames on a stream; what each kind of frame carries

Nothing here imports the rest of the package, so that a worker starts as fast as a bare interpreter allows.
"""
