"""What is done at the end of the program, when Ctrl-C has nothing left to end."""

from __future__ import annotations

from _signal import SIGINT, getsignal, signal  # type: ignore[import-not-found]  # `signal` loads much more

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["undisturbed"]


def undisturbed(do: Callable[[], object]) -> None:
    """Do this whole, in well under a second; a key that is pressed meanwhile would be reported as an error in it."""
    before = getsignal(SIGINT)
    ours = False
    while not ours:
        try:
            signal(SIGINT, _pass)
            ours = True
        except KeyboardInterrupt:
            continue  # pressed just before
        except ValueError:
            break  # not the main thread: it hears no keys
    try:
        do()
    finally:
        if ours and before is not None:
            signal(SIGINT, before)


def _pass(number: int, frame: object) -> None:
    pass
