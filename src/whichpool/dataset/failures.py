"""What goes wrong with input and output. Each says what happened, where, and what to do next.

DatasetError (whichpool.WhichpoolError)
├── BadInput (ValueError)        a file that is not what its name says, is cut short, or cannot be decoded
├── RemoteFailed                 a file of the input is elsewhere, and could not be had from there
├── InputChanged                 a file changed while it was read
├── BadOutput (ValueError)       an output that cannot be: inside the input, of a kind that is not known
├── OutputBusy                   another run is at the same output
├── SchemaDrift (ValueError)     two parts of the output have different columns
├── TooManyBad                   more bad records than `max_bad`
├── RunChanged (ValueError)      an earlier run of this output had other code or parameters
└── SplitDied                    workers die of a split, however small it is cut
"""

from __future__ import annotations

from whichpool import WhichpoolError

__all__ = [
    "BadInput",
    "BadOutput",
    "DatasetError",
    "InputChanged",
    "OutputBusy",
    "RemoteFailed",
    "RunChanged",
    "SchemaDrift",
    "SplitDied",
    "TooManyBad",
]


class DatasetError(WhichpoolError):
    """Base of what `whichpool.process` raises itself."""

    __module__ = "whichpool.dataset.failures"


class BadInput(DatasetError, ValueError):
    """A file of the input cannot be read as what it should be."""


class RemoteFailed(DatasetError):
    """The network, a server, or the package that speaks with it: a remote file could not be read."""


class InputChanged(DatasetError):
    """A file of the input is not the one any more that the splits were made of."""


class BadOutput(DatasetError, ValueError):
    """The output cannot be where, or what, it is asked to be."""


class OutputBusy(DatasetError):
    """Another run writes the same output."""


class SchemaDrift(DatasetError, ValueError):
    """Two parts of the output do not have the same columns and types."""


class TooManyBad(DatasetError):
    """More records were rejected than ``max_bad`` allows."""


class RunChanged(DatasetError, ValueError):
    """What is left of an earlier run at this output was made by other code or with other parameters."""


class SplitDied(DatasetError):
    """The worker processes that ran this split died, and it cannot be cut any further."""
