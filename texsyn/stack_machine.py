"""A stack machine for pickles that are read as data: nothing in a file is imported, called or built.

A pickle is a program for a small stack machine that may call any function by name. This one runs over the opcodes
that `pickletools.genops` lists. It knows those in `Machine.step`; a name it looks up in a table of our own, given by
the reader of one kind of file; any other opcode or name ends the reading with an InputError that says so.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from texsyn.images import InputError
from texsyn.images.picture import printable

MAX_ENTRIES = 100_000  # of a dict
MAX_GIVEN = 2**24  # entries, characters and bytes that all calls of a pickle are given together


@dataclass(frozen=True)
class Global:
    """What stands here for a name that a pickle may mention: a function, or a value that nobody calls."""

    call: Callable[..., Any] | None = None
    value: Any = None


_MARK = object()  #: what MARK leaves on the stack

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
#: push what genops has decoded
_LITERALS = {
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINSTRING",
    "SHORT_BINSTRING",
}  # fmt: skip
_EMPTY = {"EMPTY_TUPLE": tuple, "EMPTY_DICT": dict, "EMPTY_LIST": list}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Machine:
    """Runs one pickle: numbers, strings, tuples, lists, dicts with strings for keys, what `names` makes, nothing else.

    names: all that the pickle may name, as "MODULE NAME". wanted is what errors call the right kind of
    file. Subclasses say what BUILD and BINPERSID do. max_given: a pickle may give one large thing to many calls, each
    of which copies it, so that what they are given is counted.
    """

    names: Mapping[str, Global]
    wanted: str
    advice = ""  # what to do about a file that asks for other names
    keys: tuple[type, ...] = (str,)  # what dicts may have for keys
    max_given = MAX_GIVEN

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.given = 0

    def run(self, file: BinaryIO) -> Any:
        """What the pickle that starts here describes; the file is left behind its last byte."""
        for opcode, arg, _ in pickletools.genops(file):
            name = opcode.name
            if name == "STOP":
                (result,) = self.stack
                return result
            self.step(name, arg)
        raise InputError("holds a pickle without an end")

    def step(self, name: str, arg: Any) -> None:
        """One opcode. The names and what they do are those of the comments in Python's pickletools."""
        stack = self.stack
        if name in ("PROTO", "FRAME"):
            return
        if name in _LITERALS:
            stack.append(arg)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "TUPLE":
            stack.append(tuple(self.since_mark()))
        elif name in _TUPLES:
            n = _TUPLES[name]
            if len(stack) < n or _MARK in stack[-n:]:
                raise InputError("holds a pickle that takes more than it has")
            stack[-n:] = [tuple(stack[-n:])]
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[arg] = self.top()
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.top()
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[arg])
        elif name in ("SETITEM", "SETITEMS"):
            items = self.since_mark() if name == "SETITEMS" else [self.pop(), self.pop()][::-1]
            self.fill(items)
        elif name in ("APPEND", "APPENDS"):
            items = self.since_mark() if name == "APPENDS" else [self.pop()]
            self.only(self.top(), list).extend(items)
        elif name == "GLOBAL":
            stack.append(self.named(arg))
        elif name == "STACK_GLOBAL":
            attribute, module = self.only(self.pop(), str), self.only(self.pop(), str)
            stack.append(self.named(f"{module} {attribute}"))
        elif name == "REDUCE":
            arguments, function = self.only(self.pop(), tuple), self.only(self.pop(), Global)
            stack.append(self.called(function, arguments))
        elif name == "BUILD":
            state = self.pop()
            self.build(self.top(), state)
        elif name == "BINPERSID":
            stack.append(self.persistent(self.pop()))
        else:
            raise InputError(f"holds a pickle with the operation {name}, which no {self.wanted} needs; it was not run")

    def called(self, function: Global, arguments: tuple[Any, ...]) -> Any:
        """What stands here for the result of that function."""
        if function.call is None:
            raise InputError("calls what is no function")
        self.given += sum(len(one) for one in arguments if isinstance(one, str | bytes | bytearray | list | dict))
        if self.given > self.max_given:
            raise InputError("holds a pickle that makes much out of little; it was not run to its end")
        return function.call(*arguments)

    def top(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise InputError("holds a pickle that takes more than it has")
        return self.stack[-1]

    def pop(self) -> Any:
        value = self.top()
        self.stack.pop()
        return value

    def since_mark(self) -> list[Any]:
        """What was pushed since the last MARK, taken off the stack with it."""
        items: list[Any] = []
        while self.stack:
            value = self.stack.pop()
            if value is _MARK:
                return items[::-1]
            items.append(value)
        raise InputError("holds a pickle that takes more than it has")

    def fill(self, items: list[Any]) -> None:
        target = self.only(self.top(), dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in self.keys:
                raise InputError("holds a pickle that mixes up its types")
            target[key] = value
        if len(target) > MAX_ENTRIES:
            raise InputError(f"holds a dict of more than {MAX_ENTRIES} entries")

    @staticmethod
    def only(value: Any, kind: type) -> Any:
        """The value, if it is exactly of that type: nothing else may be a key, be filled, or be called."""
        if type(value) is not kind:
            raise InputError("holds a pickle that mixes up its types")
        return value

    def named(self, name: str) -> Global:
        """What stands for "MODULE NAME"."""
        if name not in self.names:
            raise InputError(
                f"its pickle asks for {printable(name.replace(' ', '.', 1))[:80]}, which no {self.wanted} needs; "
                f"it was not run{self.advice}"
            )
        return self.names[name]

    def build(self, target: Any, state: Any) -> None:
        """Give the thing on top of the stack its state."""
        raise InputError(f"sets the state of something, which no {self.wanted} needs")

    def persistent(self, identity: Any) -> Any:
        """What lies outside the pickle under that identity."""
        raise InputError(f"refers to something outside its pickle, which no {self.wanted} needs")
