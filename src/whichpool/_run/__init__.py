"""The engine: from the items of one call to its results.

options    what the caller asked for, checked
work       the items that are to be done, the batches in progress, the results: the hub that all pools share;
           straight: its way through an iterable of unknown length; journaled: with a journal
sinks      where results go: a list, a stream, a reduction, futures
inline     batches run in this process, by the caller's thread or a pool's
keys       Ctrl-C while the run is waited for
limits     time limits and further tries: timekeeper, patience (calls on threads), again (tries)
journal    the file of finished items; fingerprint: whether function and items are the same
sizing     how many items a batch has
govern     the conductor's hands: looks, asks it, does what it says
overseer   the thread beside the caller's, which listens and then governs
run        one call from its first item to its report
"""
