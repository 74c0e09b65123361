"""Wrong use that the type checker must reject; an ignore that is not needed fails the check. Never run."""

from __future__ import annotations

import whichpool


def shout(word: str) -> str:
    return word.upper()


whichpool.map(shout, [1, 2])  # type: ignore[arg-type]
whichpool.map(shout, 5)  # type: ignore[call-overload]
whichpool.map("shout", ["a"])  # type: ignore[call-overload]
whichpool.map(shout, ["a"], plan="fast")  # type: ignore[call-overload]
whichpool.map(shout, ["a"], on_error="ignore")  # type: ignore[call-overload]
whichpool.map(shout, ["a"], shared="maybe")  # type: ignore[call-overload]
whichpool.map(shout, ["a"], workers=3)  # type: ignore[call-overload]
whichpool.map(shout, ["a"], limit="8")  # type: ignore[call-overload]
whichpool.Limit(key=3)  # type: ignore[arg-type]
whichpool.Limit(slow_on=ValueError())  # type: ignore[arg-type]
whichpool.Pool(plan="fast")  # type: ignore[arg-type]
with whichpool.Pool() as pool:
    pool.submit(shout, 1)  # type: ignore[arg-type]
    pool.submit(shout)  # type: ignore[call-arg]
