"""The command line: ``whichpool map``, ``get``, ``process``, ``explain``, ``doctor`` and ``demo``.

Worker processes import this package to find the demo's functions, so it stays as good as empty.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main(argv: list[str] | None = None) -> None:
    """Run the command line and exit with its code.

    Args:
        argv: The arguments after the program's name; by default those of this process.

    Raises:
        SystemExit: Always, except for ``--version``; the codes are in ``whichpool.cli.endings``.
    """
    arguments = sys.argv[1:] if argv is None else argv
    if arguments == ["--version"] and sys.stdout is not None:
        # Scripts ask for the version often; without click it is there in a third of the time.
        from whichpool import __version__

        try:
            print(f"whichpool {__version__}", flush=True)
            return
        except OSError:
            pass  # tried again below, where it is known what to say about it
    from signal import SIG_DFL, SIGINT, signal

    try:
        from whichpool.cli.app import app
        from whichpool.cli.standard import complete

        complete()
        try:
            app.main(args=arguments, prog_name="whichpool")
        finally:
            # All is said. Ctrl-C while the interpreter ends has nothing to add but a traceback.
            signal(SIGINT, SIG_DFL)
    except KeyboardInterrupt:
        # While it was still being loaded, or once more while it was ending.
        sys.exit(130)
