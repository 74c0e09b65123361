"""Byte code as plain lists, for CPython 3.11 and later; `dis` would cost ten times as much, and its imports."""

from __future__ import annotations

import opcode
from types import CodeType

__all__ = ["Code", "decode", "line_at"]

_KEEP = 1000
"""Decoded code objects that are kept: a bound on memory for programs that make code all day."""

_NAMES = opcode.opname
_EXTENDED = opcode.opmap["EXTENDED_ARG"]
_JUMPS = frozenset(opcode.hasjrel)  # all jumps are relative since 3.11
_CACHE = 0  # inline caches read as this, and no instruction does


class Code:
    """One code object, decoded.

    Attributes:
        ops: Names of the instructions.
        args: Their arguments, ``EXTENDED_ARG`` folded in.
        offsets: Where each stands in the byte code.
        jumps: Instruction -> instruction that it may jump to.
        handlers: Instruction -> (handler's instruction, stack depth there, whether the offset is pushed).
        leaders: Instructions where control may arrive other than from the one before.
    """

    __slots__ = ("args", "code", "handlers", "jumps", "leaders", "offsets", "ops")

    def __init__(self, code: CodeType) -> None:
        self.code = code  # held, so that its id stays its own
        self.ops: list[str] = []
        self.args: list[int] = []
        self.offsets: list[int] = []
        self.jumps: dict[int, int] = {}
        raw, at_offset, targets = code.co_code, {}, []
        extended, start, size, at = 0, -1, len(raw), 0
        while at < size:
            op, arg = raw[at], raw[at + 1] | extended
            if start < 0:
                start = at
            if op == _EXTENDED:
                extended = arg << 8
                at += 2
                continue
            after = at + 2
            while after < size and raw[after] == _CACHE:
                after += 2
            index = len(self.ops)
            at_offset[start] = at_offset[at] = index  # a jump may aim at the EXTENDED_ARG before
            name = _NAMES[op]
            self.ops.append(name)
            self.args.append(arg)
            self.offsets.append(at)
            if op in _JUMPS:
                targets.append((index, after - 2 * arg if "BACKWARD" in name else after + 2 * arg))
            extended, start, at = 0, -1, after
        for index, target in targets:
            if target in at_offset:
                self.jumps[index] = at_offset[target]
        self.handlers: dict[int, tuple[int, int, bool]] = {}
        for begin, end, target, depth, lasti in _exceptions(code.co_exceptiontable):
            if target in at_offset:
                for offset in range(begin, end, 2):
                    if offset in at_offset:
                        self.handlers[at_offset[offset]] = (at_offset[target], depth, lasti)
        self.leaders = {*self.jumps.values(), *(h[0] for h in self.handlers.values())}


def _exceptions(table: bytes) -> list[tuple[int, int, int, int, bool]]:
    """The exception table: (from, to, handler, stack depth, whether the offset is pushed), in bytes."""
    entries = []
    numbers: list[int] = []
    value = 0
    for byte in table:
        value = (0 if byte & 128 else value << 6) | byte & 63
        if byte & 64:
            continue
        numbers.append(value)
        value = 0
        if len(numbers) == 4:
            begin, length, target, depth = numbers
            entries.append((begin * 2, (begin + length) * 2, target * 2, depth >> 1, bool(depth & 1)))
            numbers = []
    return entries


_decoded: dict[int, Code] = {}


def decode(code: CodeType) -> Code:
    """The decoded form, made once for each code object."""
    known = _decoded.get(id(code))
    if known is None:
        if len(_decoded) >= _KEEP:
            _decoded.clear()
        known = _decoded[id(code)] = Code(code)
    return known


def line_at(code: CodeType, offset: int) -> int:
    """The source line of an instruction."""
    for begin, end, line in code.co_lines():
        if begin <= offset < end and line is not None:
            return line
    return code.co_firstlineno
