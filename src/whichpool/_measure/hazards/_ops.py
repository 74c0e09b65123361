"""What each instruction does to the abstract stack.

Names of CPython 3.11 to 3.14. One that is missing here is handled by its stack effect alone, so a new version
makes the reader know less, not fail.
"""

from __future__ import annotations

import sys
from types import CodeType

from whichpool._worker.watch import MISSING, type_dict, type_mro

from ._effects import mutable
from ._values import NULL, TAINTED, UNKNOWN, Value, at_key, attribute, display, element, merge, private

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ._frame import Frame

__all__ = ["ABSENT", "ENDS", "OPS", "STORES"]

ABSENT = "\0absent"
"""In ``Frame.unset``, inside ``except NameError``: whatever does not exist yet."""
_NEW_CALLS = sys.version_info >= (3, 14)  # CALL_FUNCTION_EX always takes keyword arguments
_CALLABLE_FIRST = sys.version_info >= (3, 13)  # the callable lies below the NULL, no longer above
_MAKES = {"list": list, "dict": dict, "set": set, "slice": slice}


def _taint(*values: Value) -> Value:
    return TAINTED if any(v.tainted for v in values) else UNKNOWN


def _pops(count: int, pushes: int) -> Callable[[Frame, int], None]:
    def run(frame: Frame, arg: int) -> None:
        stack = frame.stack
        gone = stack[len(stack) - count :]
        if len(gone) < count:
            raise IndexError("stack underflow")
        del stack[len(stack) - count :]
        if pushes:
            stack.extend([_taint(*gone)] * pushes)

    return run


def _build(per: int, extra: int = 0, kind: str = "") -> Callable[[Frame, int], None]:
    made = _MAKES.get(kind)

    def run(frame: Frame, arg: int) -> None:
        stack, count = frame.stack, per * arg + extra
        gone = stack[len(stack) - count :]
        del stack[len(stack) - count :]
        stack.append(Value(fresh=made, tainted=any(v.tainted for v in gone)))

    return run


def _nothing(frame: Frame, arg: int) -> None:
    pass


def _push_attribute(frame: Frame, name: str, pair: bool) -> None:
    owner = frame.stack.pop()
    if type(owner.fresh) is tuple and owner.fresh[0] == "super":
        _, receiver, kind = owner.fresh
        found = attribute(receiver, name) if receiver.path else UNKNOWN
        held = receiver.obj if receiver.path else MISSING
        if kind is not MISSING and held is not MISSING:
            mro = type_mro(type(held))
            after = mro[mro.index(kind) + 1 :] if kind in mro else ()
            method = next((type_dict(base)[name] for base in after if name in type_dict(base)), MISSING)
            found = Value(found.path, method, found.role, owner=receiver, attr=name)
        value = found
    else:
        value = attribute(owner, name)
    frame.stack.append(value)
    if pair:
        # The method and what it is bound to, or the attribute and NULL: the value itself knows its owner.
        frame.stack.append(NULL)


def _load_attr(frame: Frame, arg: int) -> None:
    if sys.version_info >= (3, 12):
        _push_attribute(frame, frame.code.co_names[arg >> 1], bool(arg & 1))
    else:
        _push_attribute(frame, frame.code.co_names[arg], False)


def _load_super(frame: Frame, arg: int) -> None:
    receiver, kind, _ = frame.stack.pop(), frame.stack.pop(), frame.stack.pop()
    frame.stack.append(Value(fresh=("super", receiver, kind.obj)))
    _push_attribute(frame, frame.code.co_names[arg >> 2], bool(arg & 1))


def _load_global(frame: Frame, arg: int) -> None:
    value = frame.load_global(frame.code.co_names[arg >> 1])
    if not arg & 1:
        frame.stack.append(value)
    else:
        frame.stack.extend((value, NULL) if _CALLABLE_FIRST else (NULL, value))


def _store_global(frame: Frame, arg: int) -> None:
    name = frame.code.co_names[arg]
    held = frame.space.get(name, MISSING)
    frame.store(name, frame.stack.pop(), Value(name, held, "global"), frame.at, "global")


def _delete_global(frame: Frame, arg: int) -> None:
    frame.note(frame.code.co_names[arg], "global", "deleted", None, frame.at)


def _delete_deref(frame: Frame, arg: int) -> None:
    name = frame.names[arg]
    if name in frame.shared and name in frame.code.co_freevars:
        frame.note(name, "free", "deleted", None, frame.at)


def _store_attr(frame: Frame, arg: int) -> None:
    owner, value = frame.stack.pop(), frame.stack.pop()
    if owner.path and not private(owner.obj):
        name = frame.code.co_names[arg]
        held = attribute(owner, name)
        frame.store(
            f"{owner.path}.{name}",
            value,
            Value(owner.path, held.obj, owner.role, owner=owner),
            frame.at,
            "attribute",
        )


def _delete_attr(frame: Frame, arg: int) -> None:
    owner = frame.stack.pop()
    if owner.path and not private(owner.obj):
        frame.note(f"{owner.path}.{frame.code.co_names[arg]}", owner.role, "deleted", None, frame.at)


def _subscript(frame: Frame, arg: int) -> None:
    key, container = frame.stack.pop(), frame.stack.pop()
    if type(container.fresh) is tuple and container.fresh[0] == "args":
        held = container.fresh[1]
        known = type(key.obj) is int and not key.path and -len(held) <= key.obj < len(held)
        frame.stack.append(held[key.obj] if known else TAINTED)
        return
    part = element(container, key)
    if key.tainted and not part.path:
        part = TAINTED
    frame.stack.append(part)


def _store_subscript(frame: Frame, arg: int) -> None:
    key, container, value = frame.stack.pop(), frame.stack.pop(), frame.stack.pop()
    if container.path:
        constant = not key.path and type(key.obj) in (str, int)
        path = at_key(container.path, key)
        if container.path == "globals()" and constant:
            path = str(key.obj)
            container = Value(path, container.obj, "global")
        frame.store(path, value if constant else TAINTED, container, frame.at, "subscript")


def _delete_subscript(frame: Frame, arg: int) -> None:
    _, container = frame.stack.pop(), frame.stack.pop()
    if container.path:
        frame.note(f"{container.path}[...]", container.role, "deleted", mutable(container.obj), frame.at)


def _store_slice(frame: Frame, arg: int) -> None:
    _, _, container, _ = (frame.stack.pop() for _ in range(4))
    if container.path:
        frame.note(f"{container.path}[...]", container.role, "subscript", mutable(container.obj), frame.at)


def _slice(frame: Frame, arg: int) -> None:
    _, _, container = (frame.stack.pop() for _ in range(3))
    frame.stack.append(element(container, Value(fresh=slice)))


_SUBSCRIPT_ARG = 26  # BINARY_OP's argument for container[key] from 3.14 on


def _binary_op(frame: Frame, arg: int) -> None:
    if arg == _SUBSCRIPT_ARG:
        _subscript(frame, arg)
        return
    right, left = frame.stack.pop(), frame.stack.pop()
    in_place = arg >= 13
    if in_place and left.path and left.role != "item" and mutable(left.obj):
        frame.note(left.path, left.role, "in place", mutable(left.obj), frame.at)
        frame.stack.append(left)
        return
    if not left.path and left.fresh is not None and in_place:
        frame.stack.append(left)
        return
    frame.stack.append(Value(tainted=left.tainted or right.tainted, how="+=" if left.path else ""))


def _is_op(frame: Frame, arg: int) -> None:
    right, left = frame.stack.pop(), frame.stack.pop()
    none = (
        right
        if right.obj is None and not right.path
        else left
        if left.obj is None and not left.path
        else None
    )
    other = left if none is right else right
    test = (other.path, arg == 0) if none is not None and other.path else None
    frame.stack.append(Value(test=test, tainted=left.tainted or right.tainted))


def _contains(frame: Frame, arg: int) -> None:
    container, key = frame.stack.pop(), frame.stack.pop()
    test = None
    if container.path:
        frame.reader.probed.add(display(container.path))
        if not key.path and type(key.obj) in (str, int):
            path = str(key.obj) if container.path == "globals()" else at_key(container.path, key)
            test = (path, arg == 1)
    frame.stack.append(Value(test=test, tainted=key.tainted or container.tainted))


def _truth(frame: Frame, arg: int, invert: bool) -> None:
    value = frame.stack.pop()
    test = value.test if value.test is not None else (value.path, False) if value.path else None
    if test is not None and invert:
        test = (test[0], not test[1])
    frame.stack.append(Value(test=test, tainted=value.tainted))


def _unpack(frame: Frame, arg: int) -> None:
    value = frame.stack.pop()
    part = Value(tainted=value.tainted)
    if value.path and value.role == "item":
        part = Value("item[...]", MISSING, "item", tainted=True)
    elif value.path:
        part = element(value, None) if type(value.obj) in (list, tuple) and not value.obj else part
    if type(value.fresh) is tuple and value.fresh[0] == "args" and len(value.fresh[1]) == arg:
        frame.stack.extend(reversed(value.fresh[1]))
    else:
        frame.stack.extend([part] * arg)


def _make_function(frame: Frame, arg: int) -> None:
    code = frame.stack.pop().obj
    if sys.version_info < (3, 13):
        for bit in (8, 4, 2, 1):
            if arg & bit:
                frame.stack.pop()
    if type(code) is not CodeType:
        frame.stack.append(UNKNOWN)
        return
    free = {name: frame.load(name) for name in code.co_freevars}
    shared = frozenset(n for n in code.co_freevars if n in frame.shared and n in frame.code.co_freevars)
    made = Value(fresh=("code", code, free, shared))
    if frame.emit_wanted:
        # It is made to be called: as a key function, by a comprehension, or further down.
        unknown = dict.fromkeys(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount], UNKNOWN)
        frame.reader.code(code, unknown, free, frame.space, shared, frame.depth + 1, frame.emit)
    frame.stack.append(made)


def _set_function_attribute(frame: Frame, arg: int) -> None:
    del frame.stack[-2]


def _call(frame: Frame, count: int, names: tuple[str, ...] = ()) -> None:
    stack = frame.stack
    given = stack[len(stack) - count :] if count else []
    del stack[len(stack) - count :]
    second, first = stack.pop(), stack.pop()
    if first is NULL:
        callee = second
    else:
        callee = first
        if second is not NULL:
            given = [second, *given]  # an argument in the place of self: comprehensions, decorators
    positional = given[: len(given) - len(names)]
    keywords = dict(zip(names, given[len(given) - len(names) :], strict=False))
    stack.append(frame.reader.call(frame, callee, positional, keywords, frame.at))


def _call_plain(frame: Frame, arg: int) -> None:
    names, frame.keywords = frame.keywords, ()
    _call(frame, arg, names)


def _call_kw(frame: Frame, arg: int) -> None:
    names = frame.stack.pop().obj
    _call(frame, arg, names if type(names) is tuple else ())


def _kw_names(frame: Frame, arg: int) -> None:
    frame.keywords = frame.code.co_consts[arg]


def _call_ex(frame: Frame, arg: int) -> None:
    stack = frame.stack
    if arg & 1 or _NEW_CALLS:
        stack.pop()
    star, second, first = stack.pop(), stack.pop(), stack.pop()
    callee = second if first is NULL else first
    args = star.fresh[1] if type(star.fresh) is tuple and star.fresh[0] == "args" else []
    result = frame.reader.call(frame, callee, args, {}, frame.at)
    stack.append(result if args else _taint(star, result))


def _load_fast(frame: Frame, arg: int) -> None:
    frame.stack.append(frame.load(frame.names[arg]))


def _load_two(frame: Frame, arg: int) -> None:
    frame.stack.append(frame.load(frame.names[arg >> 4]))
    frame.stack.append(frame.load(frame.names[arg & 15]))


def _store_fast(frame: Frame, arg: int) -> None:
    frame.assign(frame.names[arg], frame.stack.pop())


def _store_load(frame: Frame, arg: int) -> None:
    frame.assign(frame.names[arg >> 4], frame.stack.pop())
    frame.stack.append(frame.load(frame.names[arg & 15]))


def _store_two(frame: Frame, arg: int) -> None:
    frame.assign(frame.names[arg >> 4], frame.stack.pop())
    frame.assign(frame.names[arg & 15], frame.stack.pop())


def _load_clear(frame: Frame, arg: int) -> None:
    frame.stack.append(frame.load(frame.names[arg]))
    frame.values.pop(frame.names[arg], None)


def _delete_fast(frame: Frame, arg: int) -> None:
    frame.values.pop(frame.names[arg], None)


def _load_const(frame: Frame, arg: int) -> None:
    frame.stack.append(Value(obj=frame.code.co_consts[arg]))


def _copy(frame: Frame, arg: int) -> None:
    frame.stack.append(frame.stack[-arg])


def _swap(frame: Frame, arg: int) -> None:
    stack = frame.stack
    stack[-1], stack[-arg] = stack[-arg], stack[-1]


def _same(frame: Frame, arg: int) -> None:
    """Instructions that give what they take: iter() of a container keeps naming the container."""


def _import(frame: Frame, arg: int) -> None:
    del frame.stack[-2:]
    name = frame.code.co_names[arg]
    frame.stack.append(frame.reader.module(name.partition(".")[0], name))


def _import_from(frame: Frame, arg: int) -> None:
    found = attribute(frame.stack[-1], frame.code.co_names[arg])
    if found.path and found.obj is MISSING:
        frame.reader.absent.add(found.path)
    frame.stack.append(found)


def _match_error(frame: Frame, arg: int) -> None:
    kind = frame.stack.pop().obj
    absent = kind in (NameError, AttributeError, KeyError)
    frame.stack.append(Value(test=(ABSENT, True) if absent else None))


def _return(frame: Frame, arg: int) -> None:
    value = frame.stack.pop()
    frame.result = value if frame.result is None else merge(frame.result, value)


def _return_const(frame: Frame, arg: int) -> None:
    _load_const(frame, arg)
    _return(frame, arg)


def _unpack_ex(frame: Frame, arg: int) -> None:
    value = frame.stack.pop()
    frame.stack.extend([Value(tainted=value.tainted)] * ((arg & 0xFF) + (arg >> 8) + 1))


def _format_value(frame: Frame, arg: int) -> None:
    _pops(2 if arg & 4 else 1, 1)(frame, arg)


def _push_null(frame: Frame, arg: int) -> None:
    frame.stack.append(NULL)


def _push_unknown(frame: Frame, arg: int) -> None:
    frame.stack.append(UNKNOWN)


OPS: dict[str, Callable[[Frame, int], None]] = {
    **dict.fromkeys(
        [
            "NOP",
            "RESUME",
            "MAKE_CELL",
            "COPY_FREE_VARS",
            "NOT_TAKEN",
            "PRECALL",
            "SETUP_ANNOTATIONS",
            "EXTENDED_ARG",
            "CACHE",
        ],
        _nothing,
    ),
    **dict.fromkeys(
        ["LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_FAST_BORROW", "LOAD_DEREF", "LOAD_CLASSDEREF"], _load_fast
    ),
    **dict.fromkeys(["LOAD_FAST_LOAD_FAST", "LOAD_FAST_BORROW_LOAD_FAST_BORROW"], _load_two),
    **dict.fromkeys(
        ["LOAD_CLOSURE", "LOAD_ASSERTION_ERROR", "LOAD_BUILD_CLASS", "LOAD_COMMON_CONSTANT"], _push_unknown
    ),
    **dict.fromkeys(["WITH_EXCEPT_START", "RETURN_GENERATOR", "GET_LEN"], _push_unknown),
    **dict.fromkeys(["GET_ITER", "GET_YIELD_FROM_ITER"], _same),
    **dict.fromkeys(
        ["POP_TOP", "POP_EXCEPT", "POP_ITER", "LIST_EXTEND", "SET_UPDATE", "DICT_UPDATE"], _pops(1, 0)
    ),
    **dict.fromkeys(["DICT_MERGE", "LIST_APPEND", "SET_ADD"], _pops(1, 0)),
    **dict.fromkeys(
        ["UNARY_NEGATIVE", "UNARY_POSITIVE", "UNARY_INVERT", "LIST_TO_TUPLE", "FORMAT_SIMPLE"], _pops(1, 1)
    ),
    **dict.fromkeys(["CONVERT_VALUE", "CALL_INTRINSIC_1", "YIELD_VALUE", "GET_AWAITABLE"], _pops(1, 1)),
    **dict.fromkeys(["COMPARE_OP", "FORMAT_WITH_SPEC", "CALL_INTRINSIC_2", "END_SEND"], _pops(2, 1)),
    **dict.fromkeys(["BEFORE_WITH", "LOAD_SPECIAL", "PUSH_EXC_INFO"], _pops(1, 2)),
    **dict.fromkeys(["RERAISE", "RAISE_VARARGS", "INTERPRETER_EXIT"], _nothing),
    "END_FOR": _pops(1 if _CALLABLE_FIRST else 2, 0),
    "MAP_ADD": _pops(2, 0),
    "CHECK_EXC_MATCH": _match_error,
    "BUILD_TUPLE": _build(1),
    "BUILD_LIST": _build(1, kind="list"),
    "BUILD_SET": _build(1, kind="set"),
    "BUILD_MAP": _build(2, kind="dict"),
    "BUILD_CONST_KEY_MAP": _build(1, 1, kind="dict"),
    "BUILD_STRING": _build(1),
    "BUILD_SLICE": _build(1, kind="slice"),
    "FORMAT_VALUE": _format_value,
    "LOAD_FAST_AND_CLEAR": _load_clear,
    "STORE_FAST": _store_fast,
    "STORE_DEREF": _store_fast,
    "STORE_FAST_LOAD_FAST": _store_load,
    "STORE_FAST_STORE_FAST": _store_two,
    "DELETE_FAST": _delete_fast,
    "DELETE_DEREF": _delete_deref,
    "LOAD_CONST": _load_const,
    "LOAD_SMALL_INT": lambda frame, arg: frame.stack.append(Value(obj=arg)),
    "LOAD_GLOBAL": _load_global,
    "STORE_GLOBAL": _store_global,
    "DELETE_GLOBAL": _delete_global,
    "LOAD_ATTR": _load_attr,
    "LOAD_METHOD": lambda frame, arg: _push_attribute(frame, frame.code.co_names[arg], True),
    "LOAD_SUPER_ATTR": _load_super,
    "STORE_ATTR": _store_attr,
    "DELETE_ATTR": _delete_attr,
    "BINARY_SUBSCR": _subscript,
    "STORE_SUBSCR": _store_subscript,
    "DELETE_SUBSCR": _delete_subscript,
    "BINARY_SLICE": _slice,
    "STORE_SLICE": _store_slice,
    "BINARY_OP": _binary_op,
    "IS_OP": _is_op,
    "CONTAINS_OP": _contains,
    "UNARY_NOT": lambda frame, arg: _truth(frame, arg, True),
    "TO_BOOL": lambda frame, arg: _truth(frame, arg, False),
    "UNPACK_SEQUENCE": _unpack,
    "UNPACK_EX": _unpack_ex,
    "MAKE_FUNCTION": _make_function,
    "SET_FUNCTION_ATTRIBUTE": _set_function_attribute,
    "KW_NAMES": _kw_names,
    "CALL": _call_plain,
    "CALL_KW": _call_kw,
    "CALL_FUNCTION_EX": _call_ex,
    "PUSH_NULL": _push_null,
    "COPY": _copy,
    "SWAP": _swap,
    "IMPORT_NAME": _import,
    "IMPORT_FROM": _import_from,
    "RETURN_VALUE": _return,
    "RETURN_CONST": _return_const,
}
STORES = frozenset(
    n for n in OPS if n.startswith(("STORE_FAST", "STORE_DEREF", "DELETE_FAST", "DELETE_DEREF"))
)
ENDS = frozenset({"RETURN_VALUE", "RETURN_CONST", "RERAISE", "RAISE_VARARGS", "INTERPRETER_EXIT"})
