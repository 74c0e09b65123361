"""Runs one code object over abstract values: control flow, stack and variables."""

from __future__ import annotations

import builtins
import opcode
from types import CodeType

from whichpool._worker.watch import MISSING, is_user_code, loose

from ._decode import decode
from ._effects import mutable
from ._ops import ABSENT, ENDS, OPS, STORES
from ._values import KEPT, NULL, TAINTED, UNKNOWN, Value, element, isinstance_module, merge, private

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._reader import Reader

__all__ = ["Frame"]


class State:
    """Stack, variables and what is known to be unset at one instruction."""

    __slots__ = ("stack", "unset", "values")

    def __init__(self, stack: list[Value], values: dict[str, Value], unset: frozenset[str]) -> None:
        self.stack = stack
        self.values = values
        self.unset = unset

    def copy(self) -> State:
        """A state that can go its own way."""
        return State(self.stack.copy(), self.values.copy(), self.unset)

    def meet(self, other: State) -> bool:
        """Keep what holds in both; returns whether this state knows less than before."""
        if len(self.stack) != len(other.stack):
            raise ValueError("stack depths differ")
        changed = False
        for at, (a, b) in enumerate(zip(self.stack, other.stack, strict=True)):
            both = merge(a, b)
            if both is not a:
                self.stack[at] = both
                changed = True
        for name, a in list(self.values.items()):
            b = other.values.get(name, UNKNOWN)
            both = merge(a, b)
            if not both.same(a):
                self.values[name] = both
                changed = True
        if not self.unset <= other.unset:
            self.unset &= other.unset
            changed = True
        return changed


class Frame:
    """One code object with what is known of its variables.

    Attributes:
        values: Local variable -> value, cells of its own included.
        free: Free variable -> value.
        shared: The free variables that others see; the rest belong to an enclosing call for the same item.
        space: The globals.
        tried: Paths that were looked up where a failure would be handled, behind the place of the handler.
        unset: Paths known to be None, false or missing here, because a test of them said so.
    """

    code: CodeType

    def __init__(
        self,
        reader: Reader,
        code: CodeType,
        values: dict[str, Value],
        free: dict[str, Value],
        space: dict[str, Any],
        shared: frozenset[str],
        depth: int,
        emit: bool,
    ) -> None:
        self.reader = reader
        self.code = code
        self.free = free
        self.space = space
        self.shared = shared
        self.depth = depth
        self.emit_wanted = emit
        self.emit = False
        self.decoded = decode(code)
        own = [
            *code.co_varnames,
            *(n for n in code.co_cellvars if n not in code.co_varnames),
            *code.co_freevars,
        ]
        self.names = own
        self.state = State([], values, frozenset())
        self.result: Value | None = None
        self.keywords: tuple[str, ...] = ()
        self.tried: set[str] = set()
        self.at = 0

    @property
    def stack(self) -> list[Value]:
        """The stack at the current instruction."""
        return self.state.stack

    @property
    def values(self) -> dict[str, Value]:
        """The variables at the current instruction."""
        return self.state.values

    @property
    def unset(self) -> frozenset[str]:
        """Paths known to be unset at the current instruction."""
        return self.state.unset

    # control flow

    def run(self) -> Value | None:
        """Run to a fixed point, then once more to note what is certain; returns the result."""
        code = self.decoded
        if not code.leaders:
            self.emit = self.emit_wanted
            self._block(0, self.state, {}, [])
            return self.result
        entries: dict[int, State] = {0: self.state}
        todo = [0]
        while todo:
            at = todo.pop()
            self._block(at, entries[at].copy(), entries, todo)
        if self.emit_wanted:
            self.emit = True
            self.result = None
            for at in sorted(entries):
                self._block(at, entries[at].copy(), entries, [])
        return self.result

    def _block(self, at: int, state: State, entries: dict[int, State], todo: list[int]) -> None:
        """Run from an entry to the next one, or to where control leaves."""
        code, reader = self.decoded, self.reader
        ops, args, handlers, jumps, leaders = code.ops, code.args, code.handlers, code.jumps, code.leaders
        self.state = state
        start, last, told = at, len(ops), None
        while at < last:
            if at != start and at in leaders:
                self._enter(at, self.state, entries, todo)
                return
            reader.steps -= 1
            if reader.steps <= 0:
                raise RuntimeError("too long")
            op, arg = ops[at], args[at]
            handler = handlers.get(at)
            if handler is not None and handler is not told:
                self._to_handler(handler, entries, todo)
                told = handler
            self.at = at
            if at in jumps and self._jump(op, arg, jumps[at], entries, todo):
                return
            if at not in jumps:
                run = OPS.get(op)
                if run is not None:
                    run(self, arg)
                else:
                    self._other(op, arg)
                if handler is not None and self.state.stack and self.state.stack[-1].path:
                    self.tried.add(f"\0{handler[0]} {self.state.stack[-1].path}")
                if op in STORES:
                    told = None  # variables changed: the handler may now see others
                elif op in ENDS:
                    return
            at += 1

    def _enter(self, at: int, state: State, entries: dict[int, State], todo: list[int]) -> None:
        known = entries.get(at)
        if known is None:
            entries[at] = state.copy()
            todo.append(at)
        elif known.meet(state) and at not in todo:
            todo.append(at)

    def _to_handler(self, handler: tuple[int, int, bool], entries: dict[int, State], todo: list[int]) -> None:
        target, depth, lasti = handler
        stack = [*self.stack[:depth], *([UNKNOWN] if lasti else []), UNKNOWN]
        unset = self.unset | {f"\0{target} "}  # says which failure led there
        self._enter(target, State(stack, self.values.copy(), unset), entries, todo)

    def _jump(self, op: str, arg: int, target: int, entries: dict[int, State], todo: list[int]) -> bool:
        """A jump instruction; returns whether control never goes on to the next instruction."""
        state = self.state
        if op.startswith("JUMP_") and "IF" not in op:
            self._enter(target, state, entries, todo)
            return True
        if "IF" in op:
            value = state.stack[-1]
            keep = op.endswith("_OR_POP")
            if not keep:
                state.stack.pop()
            path, unset_if = self._condition(value, op)
            jumped = state.copy()
            if path:
                (jumped if unset_if else state).unset |= {path}
            self._enter(target, jumped, entries, todo)
            if keep:
                state.stack.pop()
            return False
        jumped = state.copy()
        if op == "FOR_ITER":
            source = state.stack[-1]
            effect = opcode.stack_effect(opcode.opmap[op], arg, jump=True)
            jumped.stack.append(UNKNOWN) if effect > 0 else jumped.stack.pop()
            self._enter(target, jumped, entries, todo)
            # What an item yields when iterated may be made for the occasion (a file, a reader): not certain.
            part = (
                element(source, None)
                if source.path and source.role != "item"
                else Value(tainted=source.tainted)
            )
            state.stack.append(part)
            return False
        number = opcode.opmap[op]
        self._effect(jumped, opcode.stack_effect(number, arg, jump=True))
        self._enter(target, jumped, entries, todo)
        self._effect(state, opcode.stack_effect(number, arg, jump=False))
        return False

    def _condition(self, value: Value, op: str) -> tuple[str, bool]:
        """(path, whether it is unset where the jump is taken), if the condition is a test of a path."""
        if "NONE" in op:
            return value.path, "NOT_NONE" not in op
        unset_if_true = False
        path = value.path
        if value.test is not None:
            path, unset_if_true = value.test
        return path, unset_if_true == ("TRUE" in op)

    def _effect(self, state: State, effect: int) -> None:
        """An instruction of which only the net effect is known: what it may have touched becomes unknown."""
        if effect < 0:
            del state.stack[effect:]
        else:
            state.stack.extend([UNKNOWN] * effect)
        for at in range(1, min(len(state.stack), effect + 4) + 1):
            if state.stack[-at] is not NULL:
                state.stack[-at] = TAINTED if state.stack[-at].tainted else UNKNOWN

    def _other(self, op: str, arg: int) -> None:
        number = opcode.opmap.get(op)
        if number is None:
            return
        self._effect(self.state, opcode.stack_effect(number, arg if number >= opcode.HAVE_ARGUMENT else None))

    # noting

    def note(self, path: str, role: str, how: str, kind: str | None, at: int) -> None:
        """Enter a finding."""
        if not self.emit or not path:
            return
        from ._reader import Finding

        found = Finding(path, role, how, kind, self.code, self.decoded.offsets[at])
        self.reader.findings.setdefault(loose(found.name), found)

    def store(self, path: str, value: Value, root: Value, at: int, how: str) -> None:
        """A value is put where others see it: a finding, unless it is set once behind a test of itself."""
        absent = ABSENT in self.unset and (
            root.obj is MISSING
            or (value.how != "+=" and any(mark + path in self.tried for mark in self.unset))
        )
        if (path in self.unset or absent or value.how == KEPT + path) and not value.tainted:
            if self.emit:
                self.reader.lazy.add(path)
            if value.fresh is not None:
                self.reader.hints[path] = value.fresh() if value.fresh in (list, dict, set) else MISSING
            return
        if how != "global" and self._setting(root, value):
            return
        kind = mutable(root.obj) if how == "subscript" else None
        self.note(path, root.role, "+=" if value.how == "+=" else how, kind, at)

    def _setting(self, root: Value, value: Value) -> bool:
        """A constant put into a setting of an installed module is the same after every call: benign."""
        if value.path or value.obj is MISSING or value.tainted:
            return False
        top: Value | None = root
        while top is not None and top.owner is not None:
            top = top.owner
        if mutable(root.obj) == "environment":
            return True
        if top is None or not isinstance_module(top.obj):
            return False
        file = getattr(top.obj, "__file__", None)
        return file is None or not is_user_code(file)

    def entered(self, at: int) -> bool:
        """Whether a call's result is what a ``with`` statement enters, and leaves again."""
        return any(op in ("BEFORE_WITH", "LOAD_SPECIAL") for op in self.decoded.ops[at + 1 : at + 3])

    def thrown_away(self, at: int) -> bool:
        """Whether a call's result is not used."""
        ops = self.decoded.ops
        while at + 1 < len(ops):
            at += 1
            if ops[at] == "POP_TOP":
                return True
            if ops[at] not in ("CALL", "PRECALL"):
                return False
        return False

    # variables

    def load_global(self, name: str) -> Value:
        """A global or builtin name."""
        found = self.space.get(name, MISSING)
        if found is MISSING:
            builtin = builtins.__dict__.get(name, MISSING)
            return Value(obj=builtin) if builtin is not MISSING else Value(name, MISSING, "global")
        return Value(obj=found) if private(found) else Value(name, found, "global")

    def load(self, name: str) -> Value:
        """A local or free variable."""
        found = self.values.get(name)
        if found is None:
            found = self.free.get(name, UNKNOWN)
            if private(found.obj):
                return UNKNOWN
        return found

    def assign(self, name: str, value: Value) -> None:
        """Bind a local or free variable."""
        if name in self.code.co_freevars:
            if name in self.shared:
                self.store(name, value, self.free.get(name, UNKNOWN), self.at, "nonlocal")
            return
        if value.role == "item" and value.path.startswith("item["):
            value = Value(name, value.obj, "item", tainted=True)  # named as the user named the part
        self.values[name] = value
