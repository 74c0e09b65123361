"""Findings in words: what happens, and how to write it so that it can run beside itself."""

from __future__ import annotations

from whichpool._records import Hazard

from ._effects import FOR_A_WHILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    Workers: TypeAlias = frozenset[Literal["threads", "processes"]]

    from ._live import Captured, Trouble
    from ._reader import Finding

__all__ = ["about_captured", "about_change", "about_write"]

_BOTH: Workers = frozenset({"threads", "processes"})
_THREADS: Workers = frozenset({"threads"})
_PROCESSES: Workers = frozenset({"processes"})
_ADD_UP = "Return the value and add up the results: {name} = sum(whichpool.map(...))."
_LIST = "Return the value: whichpool.map gives the list of results, in order."
_PAIRS = "Return the key and the value, and build the table from the results: dict(whichpool.map(...))."
_MEMO = "Let functools.cache keep the values, or return them and build the table from the results."
_COMBINE = "Return the counts of one item and let whichpool.map_reduce combine them."
_ARRAY = "Return what belongs there, and put the results in their places afterwards, in order."
_RETURN = "Return the value instead of storing it; the results come in order."
_ITEM = "Return a changed copy and leave the item as it is: items = whichpool.map(f, items)."
_LOST = "another process would change a copy, and another thread one that may come twice"
_USED_UP = (
    "is used up by the call: another process would use up a copy, and another thread one that may come twice"
)
_ITERATOR = "Make it inside the call, from something that stays as it is."
_SELF = "Return the value instead of keeping it on {owner}, and store it once the results are there."
_ADVICE = {
    "list": _LIST,
    "dict": _PAIRS,
    "set": "Return the value, and make the set from the results: set(whichpool.map(...)).",
    "counter": _COMBINE,
    "array": _ARRAY,
    "frame": "Return the new values, and put them into the table from the results, in order.",
    "environment": "Pass the value on to what reads it, or give env= to the program that is started.",
    "tree": "Return the element, and put it into the tree from the results, in order.",
    "stream": "Make it inside the call, or return the data and feed it from the results, in order.",
    "queue": "Return the value: whichpool.imap hands over each result as soon as its turn comes.",
    "file": "Return the text, and write it from the results: for text in whichpool.imap(...): file.write(text).",
}


def about_write(found: Finding, memo: bool) -> Hazard:
    """A write that was read off the code."""
    how, name, role = found.how, found.name, found.role
    if " " in how and how.split()[0] in ("reseeds", "sets", "changes", "redirects"):
        what, passing, _ = how.partition(FOR_A_WHILE)
        stays = how.startswith("changes") and not passing
        if how.endswith("random state"):
            advice = (
                "Leave it out and pass seed= to whichpool.map: then each item has a random state of its own."
            )
        elif stays:
            advice = "Do without it: pass paths and values on to what needs them."
        else:
            advice = "Do without it (pass paths or streams on), or use plan='processes', where each call has its own."
        why = f"{what} of the whole process{passing}, which all {'calls' if stays else 'threads'} share"
        return Hazard("writes", name, found.where, why, advice, _BOTH if stays else _THREADS)
    if role == "item":
        if how == "next":
            return Hazard("changes_item", name, found.where, _USED_UP, _ITERATOR, _BOTH)
        return Hazard(
            "changes_item",
            name,
            found.where,
            f"is the item itself, or a part of it, and is changed: {_LOST}",
            _ITEM,
            _BOTH,
        )
    if how == "deleted":
        why, advice = "is deleted by a call", "Delete it once, after the results are there."
    elif memo:
        why, advice = "is filled by the calls, as a table of known values", _MEMO
    elif how == "+=" and role in ("global", "free") and "." not in name and "[" not in name:
        why, advice = "is added to by every call", _ADD_UP.format(name=name)
    elif found.type is not None:
        why, advice = "is changed by the calls, and all of them share it", _ADVICE[found.type]
    elif how == "+=":
        why, advice = "is added to by every call", _ADD_UP.format(name=name)
    elif "." in name:
        why, advice = (
            "is set by the calls, and all of them share it",
            _SELF.format(owner=name.rpartition(".")[0]),
        )
    else:
        why, advice = "is set by the calls, and all of them share it", _RETURN
    if role == "default":
        why = why.replace("all of them share it", "the default is one object for all of them")
        advice = f"{advice} A default of None, replaced inside the call, gives each call its own."
    return Hazard("writes", name, found.where, why, advice, _BOTH)


def about_change(name: str, where: str) -> Hazard:
    """A change that was seen, and not read off the code."""
    item = name == "item" or name.startswith(("item.", "item["))
    if item:
        why = f"was seen to be changed by the call: {_LOST}"
        return Hazard("changes_item", name, where, why, _ITEM, _BOTH)
    advice = _SELF.format(owner=name.rpartition(".")[0]) if "." in name else _RETURN
    return Hazard(
        "writes", name, where, "was seen to change during a call, and all calls share it", advice, _BOTH
    )


def about_captured(found: Captured, what: Trouble) -> list[Hazard]:
    """A captured object that gives a next value, cannot travel or must stay with one thread."""
    hazards = []
    fn = found.function
    where = "the callable itself"
    if fn is not None:
        file = fn.__code__.co_filename.replace("\\", "/").rsplit("/", 1)[-1]
        where = f"{file}:{fn.__code__.co_firstlineno}"
    if what.draws is not None:
        if what.draws == "random generator":
            advice = (
                "Make the generator inside the call, from the item, or use the random module and pass seed=."
            )
        else:
            advice = f"Pass it as a second iterable: whichpool.map(f, items, {found.name})."
        why = f"is a captured {what.draws}: what it gives next depends on the order of the calls"
        hazards.append(Hazard("shares", found.name, where, why, advice, _BOTH))
    if what.no_travel is not None:
        why = f"is {'an' if what.no_travel[0] in 'aeiou' else 'a'} {what.no_travel}, which cannot go to another process"
        advice = "Open or make it inside the call, or once in each process behind functools.cache."
        hazards.append(Hazard("cannot_travel", found.name, where, why, advice, _PROCESSES))
    if what.unsafe is not None:
        if "figure" in what.unsafe:
            advice = "Make the figure inside the call with matplotlib.figure.Figure, or use processes."
        else:
            advice = "Open or make it inside the call, or once in each thread in a threading.local."
        hazards.append(Hazard("not_thread_safe", found.name, where, what.unsafe, advice, _THREADS))
    return hazards
