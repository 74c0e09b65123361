"""``MODULE:FUNCTION`` or ``path/to/file.py:function``, as the callable that it names."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whichpool.cli.endings import FAILED, USAGE, Ending

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

__all__ = ["load"]


def load(target: str) -> Callable[..., Any]:
    """Import the module and look the function up in it.

    The current directory (or the folder of the file that is named) goes first on ``sys.path``, as it does for
    ``python -m`` and ``python file.py``.

    Args:
        target: For example ``package.module:function``, ``module:Class.method`` or ``tools/load.py:load``.

    Returns:
        The callable.

    Raises:
        Ending: With code 2 where the target names nothing that can be called, with 1 where importing it
            raised.
    """
    where, colon, name = target.rpartition(":")
    if not colon or not where or not name:
        raise Ending(
            USAGE,
            f"{target!r} does not name a function: it takes MODULE:FUNCTION, for example math:sqrt "
            "or tools/load.py:load",
        )
    is_file = where.endswith(".py") or "/" in where or "\\" in where
    module = _from_file(Path(where)) if is_file else _from_name(where)
    found: Any = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise Ending(USAGE, f"{where} has no {name!r}{_suggestion(found, part)}") from None
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise Ending(FAILED, f"looking up {part!r} in {where} {_raised(error)}") from error
    if not callable(found):
        raise Ending(USAGE, f"{target} is not a function: it is of type {type(found).__name__}")
    function: Callable[..., Any] = found
    return function


def _suggestion(owner: object, missing: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(missing, [name for name in dir(owner) if not name.startswith("__")], n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _from_name(name: str) -> ModuleType:
    from importlib import import_module

    here = _here()
    if here is not None:
        _first_on_path(here)
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        # A module that is missing further inside is the module's own fault, and reported as such.
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise Ending(
                USAGE,
                f"there is no module {error.name!r} in {here or 'the current directory'} or among what is installed",
            ) from error
        raise _import_raised(name, error) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _import_raised(name, error) from error


def _from_file(path: Path) -> ModuleType:
    from importlib import import_module

    path = path.resolve()
    if not path.is_file() or path.suffix != ".py":
        raise Ending(USAGE, f"there is no Python file {path}")
    _first_on_path(path.parent)
    # The file is imported under its own name, so that worker processes find it by that name as well.
    if not path.stem.isidentifier():
        raise Ending(USAGE, f"{path.name} cannot be imported: a module's name has letters, digits and _ only")
    try:
        module = import_module(path.stem)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _import_raised(str(path), error) from error
    if Path(getattr(module, "__file__", None) or "").resolve() != path:
        raise Ending(
            USAGE, f"{path.name} is hidden by another module of the name {path.stem!r}; give it another name"
        )
    return module


def _here() -> Path | None:
    """The current directory; ``None``: it has been deleted."""
    try:
        return Path.cwd()
    except OSError:
        return None


def _first_on_path(folder: Path) -> None:
    sys.path.insert(0, str(folder))


def _import_raised(what: str, error: BaseException) -> Ending:
    return Ending(FAILED, f"importing {what} {_raised(error)}")


def _raised(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"called sys.exit({error.code!r})"
    return f"raised {type(error).__qualname__}: {error}"
