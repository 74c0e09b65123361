"""A folder of files is cut between files: small ones together, a large one alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from whichpool.dataset.records import Source

__all__ = ["groups_of_files"]

# Files in a split, at the most. Opening one and handling it takes time however small it is, and a run should be able
# to end its workers together. A guess.
MOST_FILES = 64
# And at least so many splits are made, if there are as many files: their bytes do not say how long they take (of a
# picture, say), and the last splits of a run should be short. A guess.
SHARES = 64
# The same where the caller combines what comes of the splits: of 150 splits with 64 pages each, whose words are
# counted, that is a tenth of the work by reckoning, not by measurement. Guesses.
MOST_FILES_COMBINED = 1_024
SHARES_COMBINED = 32
# The very first splits have an eighth of the files of others, at least one: until two of them are done little is known
# of the work, and one core does it all. With three pictures in each, the workers of an earlier run stood idle for
# 70 ms; with one page each, where others have 333, two calls of 0.1 ms said that there is nothing to gain. A guess.
PROBES = 2
PROBE_SHARE = 8


def groups_of_files(
    sources: list[Source], split_bytes: int, *, combined: bool = False
) -> list[tuple[Source, ...]]:
    """Neighbouring files, up to so many bytes together.

    Args:
        sources: The files.
        split_bytes: About how much a split should be; a file that has more is one alone.
        combined: The results of the splits are combined, one by one, in one place: fewer splits are less of that.

    >>> from whichpool.dataset.records import Source
    >>> files = [Source(name, "file", size, 0) for name, size in [("a", 10), ("b", 90), ("c", 5), ("d", 5)]]
    >>> [[file.path for file in group] for group in groups_of_files(files, 100)]
    [['a'], ['b'], ['c'], ['d']]
    """
    limit, shares = (MOST_FILES_COMBINED, SHARES_COMBINED) if combined else (MOST_FILES, SHARES)
    most = max(
        1, min(limit, len(sources) // shares)
    )  # a few files: one each, so that all the cores have some
    groups: list[list[Source]] = []
    filled, few = 0, max(1, most // PROBE_SHARE)
    for source in sources:
        full = few if len(groups) <= PROBES else most
        if not groups or filled + source.size_bytes > split_bytes or len(groups[-1]) >= full:
            groups.append([])
            filled = 0
        groups[-1].append(source)
        filled += source.size_bytes
    return [tuple(each) for each in groups]
