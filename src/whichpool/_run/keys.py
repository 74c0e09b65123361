"""Ctrl-C while the caller's thread waits for a run: heard once, never lost, and not in the middle of clearing away.

Python raises `KeyboardInterrupt` between any two steps of the main thread. If that is inside a weak reference's
callback or a `__del__` (an import runs some), it prints the exception and goes on, and the program waits as if no key
had been pressed. And a second press while workers are being ended would leave them behind. So while a run waits, and
the program has not put a handler of its own there, whichpool's handler takes note of the key as well.
"""

from __future__ import annotations

from _signal import (  # type: ignore[import-not-found]  # `signal` loads much more
    SIGINT,
    default_int_handler,
    getsignal,
    signal,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

__all__ = ["Keys"]


class Keys:
    """Listens between `listen` and `leave`, on the main thread; on others, which hear no keys, it does nothing.

    Should its handler ever be left behind (a key that is pressed in the midst of `listen`), it does what Python's does.
    """

    __slots__ = ("_handler", "_heard", "_held", "_listening")

    def __init__(self) -> None:
        self._handler = self._hear
        self._heard = self._held = self._listening = False

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._heard = True
        if not self._held:
            default_int_handler(number, frame)

    @property
    def listening(self) -> bool:
        """Between `listen` and `leave`."""
        return self._listening

    def listen(self) -> None:
        """From now on a key is noted, and raises `KeyboardInterrupt` as always."""
        self._heard = self._held = False
        present = getsignal(SIGINT)
        if present is not default_int_handler and not isinstance(getattr(present, "__self__", None), Keys):
            return  # the program has a say of its own in what Ctrl-C means
        try:
            signal(SIGINT, self._handler)
            self._listening = True
        except ValueError:
            pass  # not the main thread

    def check(self) -> None:
        """Raise what was heard and got lost.

        Raises:
            KeyboardInterrupt: A key was pressed since `listen` or `forget`, and who calls this has not been told.
        """
        if self._heard and not self._held:
            self._heard = False
            raise KeyboardInterrupt

    def forget(self) -> None:
        """The caller's function has run meanwhile: what it does about the key is its own affair, as in the loop."""
        self._heard = False

    def hold(self) -> None:
        """From now on a key is only noted: what is being done now takes under a second and must be done whole."""
        if not self._listening:
            self.listen()
        self._held = True

    def release(self) -> None:
        """The opposite of `hold`.

        Raises:
            KeyboardInterrupt: A key was pressed meanwhile.
        """
        self._held = False
        self.check()

    def leave(self, *, tell: bool) -> None:
        """Listen no more; calling it again does nothing.

        Args:
            tell: Raise what was heard and nobody was told; ``False`` where an interrupt is on its way already.

        Raises:
            KeyboardInterrupt: See ``tell``.
        """
        self._held = True  # a key that comes in the midst of this is raised below
        if (
            self._listening and getsignal(SIGINT) is self._handler
        ):  # else the caller's function has set another
            try:
                signal(SIGINT, default_int_handler)
            except ValueError:
                pass  # not the main thread: who listens there will leave
        heard, self._heard, self._held, self._listening = self._heard, False, False, False
        if heard and tell:
            raise KeyboardInterrupt
