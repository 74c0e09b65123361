"""Whether a function may run beside itself; the engine sees `Task`, and this looks at the function within."""

from __future__ import annotations

from typing import Any

import whichpool

__all__ = ["plan_for"]


def plan_for(fn: Any, engine: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The options for the engine, and what is to be said about them.

    Args:
        fn: The function; of a class, what its instances do when they are called: writing to themselves is fine, since
            each worker has its own.
        engine: As the caller gave them.

    Returns:
        The options; with ``plan="loop"`` where the plan was to be chosen and the function writes what others can see.

    Raises:
        SharedWrite: It does, and a concurrent plan was asked for.
    """
    plan = engine.get("plan", "auto")
    if engine.get("shared") == "ok" or plan in ("loop", (0, 1)):
        return engine, []
    called = vars(fn).get("__call__", fn) if isinstance(fn, type) else fn
    # A call that changes its item changes a batch that was made for it, and that nobody else has.
    found = [
        hazard for hazard in whichpool.explain(called, []).hazards if hazard.kind in ("writes", "shares")
    ]
    if not found:
        return engine, []
    if plan == "auto":
        return {**engine, "plan": "loop"}, [f"kept to the loop: {found[0]}"]
    raise whichpool.SharedWrite(f'{found[0]} (shared="ok" lets it run beside itself all the same)')
