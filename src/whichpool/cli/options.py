"""What the commands' declarations share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from whichpool.cli.standard import output, printing

__all__ = ["Parsed", "debug_option", "with_options"]

Command = TypeVar("Command", bound=Callable[..., Any])


class Parsed(click.Command):
    """A command whose ``--help`` and ``--version`` end as all that is printed does."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """As click's; all that it ever prints is what these two print."""
        try:
            with printing():
                return super().make_context(*args, **kwargs)
        except click.exceptions.Exit:
            output()
            raise


def _debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(dict)["debug"] = True


def with_options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


debug_option = click.option(
    "--debug", is_flag=True, expose_value=False, is_eager=True, callback=_debug, help="Show tracebacks."
)
