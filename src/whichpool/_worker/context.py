"""Context variables on their way to a worker: a variable cannot be pickled, but its place in a module has a name."""

from __future__ import annotations

import pickle
import sys
from contextvars import Context, ContextVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .calls import ContextValue

__all__ = ["pack_context", "unpack_context"]


def pack_context(context: Context) -> list[ContextValue]:
    """What is set in the context, as far as it can travel: variables that a module has a name for, values that pickle.

    Looking through all modules costs milliseconds; it is done only if anything is set, which is rare, and until all are
    found.
    """
    packed: list[ContextValue] = []
    decimals = None
    if "decimal" in sys.modules:
        import decimal

        # Its variable is in no module, and is always set once decimal was used: it must not be looked for.
        decimals = context.copy().run(decimal.getcontext)
        packed.append(("decimal", "", pickle.dumps(decimals, protocol=5)))
    wanted = {
        id(variable)
        for variable, value in context.items()
        if value is not decimals or variable.name != "decimal_context"
    }
    if not wanted:
        return packed
    for name, module in list(sys.modules.items()):
        if not wanted:
            break
        for attribute, value in list(getattr(module, "__dict__", {}).items()):
            if type(value) is ContextVar and id(value) in wanted:
                wanted.discard(id(value))
                try:
                    packed.append((name, attribute, pickle.dumps(context[value], protocol=5)))
                except Exception:
                    pass  # it stays at its default there
    return packed


def unpack_context(packed: list[ContextValue]) -> Context:
    """A context in which these variables are set, of modules that the job has loaded here."""
    context = Context()
    for name, attribute, data in packed:
        if name == "decimal" and not attribute:
            import decimal

            context.run(decimal.setcontext, pickle.loads(data))
            continue
        variable = getattr(sys.modules.get(name), attribute, None)
        if type(variable) is ContextVar:
            try:
                context.run(variable.set, pickle.loads(data))
            except Exception:
                pass  # it stays at its default
    return context
