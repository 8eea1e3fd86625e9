"""Function calls between two processes that do not trust each other: the tests in one, the program in the other.

Plain values (None, bool, int, float, complex, Fraction, Decimal, str, bytes, range, numpy's scalars, and lists, tuples,
sets and dicts of them) cross by value and arrive as the standard library's own types: an object whose __eq__ always
agrees cannot be sent. Anything else stays in the program's process, and the tests get a handle that can be called and
looked into but equals nothing.
"""

from __future__ import annotations

import builtins
import json
import os
import socket
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from io import BufferedRWPair

LONGEST_LINE = 16 * 2**20
LONGEST_LIST = 100_000
"""Items that are taken from an iterator."""
PROGRAM_GONE = 86
"""Exit status of the tests when the program ended before they did."""

Keep = Callable[[object], int]
Find = Callable[[int], object]

# An exception of the program is raised in the tests as one of these. StopIteration and its like are not among them:
# raised inside `all(map(...))` they would end the tests early and quietly.
_ERRORS: dict[str, type[Exception]] = {
    error.__name__: error
    for error in (
        ArithmeticError, AssertionError, AttributeError, EOFError, Exception, FileNotFoundError, IndexError, KeyError,
        LookupError, NameError, NotImplementedError, OSError, OverflowError, RecursionError, RuntimeError, TypeError,
        UnicodeError, ValueError, ZeroDivisionError,
    )
}  # fmt: skip


class ProgramError(Exception):
    """The program raised something that has no counterpart in the tests."""


def encode(value: object, keep: Keep) -> Any:  # noqa: ANN401 - JSON
    """Turn `value` into JSON; what is not plain is given to `keep`, and only its number is sent."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return {"int": hex(int.__index__(value))}  # decimal digits are limited, and slow for long numbers
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, bytes | bytearray):
        return {"bytes": bytes(value).hex()}
    if isinstance(value, dict):
        return {"dict": [[encode(key, keep), encode(item, keep)] for key, item in dict.items(value)]}
    if isinstance(value, list):
        return {"list": [encode(item, keep) for item in list.__iter__(value)]}
    if isinstance(value, tuple):
        return {"tuple": [encode(item, keep) for item in tuple.__iter__(value)]}
    if isinstance(value, set | frozenset):
        return {"set": [encode(item, keep) for item in value]}
    if isinstance(value, Fraction):
        return {"fraction": [hex(int(value.numerator)), hex(int(value.denominator))]}
    if isinstance(value, Decimal):
        return {"decimal": Decimal.__str__(value)}
    if isinstance(value, range):
        return {"range": [hex(value.start), hex(value.stop), hex(value.step)]}
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        number = value.item()  # type: ignore[attr-defined]  # a scalar of numpy
        if type(number) in (bool, int, float, complex, str, bytes):
            return encode(number, keep)
    return {"object": keep(value)}


def decode(data: Any, find: Find) -> Any:  # noqa: ANN401 - JSON
    """Turn JSON back into a value of the builtin types, or into what `find` gives for a number.

    Raises:
        ValueError: no such JSON is ever sent.
    """
    if data is None or isinstance(data, bool | str | float):
        return data
    if not isinstance(data, dict) or len(data) != 1:
        raise ValueError("not an encoded value")
    ((kind, body),) = data.items()
    match kind:
        case "int":
            return int(body, 16)
        case "complex":
            return complex(*body)
        case "bytes":
            return bytes.fromhex(body)
        case "dict":
            return {decode(key, find): decode(item, find) for key, item in body}
        case "list":
            return [decode(item, find) for item in body]
        case "tuple":
            return tuple(decode(item, find) for item in body)
        case "set":
            return {decode(item, find) for item in body}
        case "fraction":
            return Fraction(int(body[0], 16), int(body[1], 16))
        case "decimal":
            return Decimal(body)
        case "range":
            return range(*(int(bound, 16) for bound in body))
        case "object":
            return find(int(body))
    raise ValueError("not an encoded value")


def serve(channel: socket.socket, program: ModuleType) -> None:
    """Answer the calls of the tests with the names of `program`, until the tests hang up."""
    kept: list[object] = []

    def keep(value: object) -> int:
        kept.append(value)
        return len(kept) - 1

    stream = channel.makefile("rwb")
    while line := stream.readline():
        try:
            target, action, arguments = decode(json.loads(line), kept.__getitem__)
            thing = getattr(program, target) if isinstance(target, str) else target
            reply = {"value": encode(_perform(thing, action, arguments), keep)}
        except BaseException as error:  # noqa: BLE001 - whatever the program raises is the answer
            reply = {"error": type(error).__name__, "message": _said(error)}
        stream.write(json.dumps(reply).encode() + b"\n")
        stream.flush()


def _perform(thing: Any, action: str, arguments: Any) -> object:  # noqa: ANN401 - anything that a program defines
    if action == "call":
        positional, named = arguments
        return thing(*positional, **named)
    if action == "get":
        return getattr(thing, arguments)
    if action == "set":
        setattr(thing, *arguments)
        return None
    return list(islice(iter(thing), LONGEST_LIST))


def _said(error: BaseException) -> str:
    try:
        return str(error)[:500]
    except Exception:  # noqa: BLE001 - the exception class is the program's own
        return ""


class Remote:
    """Something of the program's, as the tests see it."""

    __slots__ = ("_ask", "_target")

    def __init__(self, ask: Ask, target: str | int) -> None:
        object.__setattr__(self, "_ask", ask)
        object.__setattr__(self, "_target", target)

    def __call__(self, *positional: object, **named: object) -> Any:  # noqa: ANN401 - what the program returns
        """Call it in the program's process."""
        return self._ask(self._target, "call", (positional, named))

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - what the program has
        if name.startswith("__"):
            raise AttributeError(name)
        return self._ask(self._target, "get", name)

    def __setattr__(self, name: str, value: object) -> None:
        self._ask(self._target, "set", (name, value))

    def __iter__(self) -> Iterator[Any]:
        return iter(self._ask(self._target, "list", None))

    def __eq__(self, other: object) -> bool:
        raise TypeError("the program returned an object that is no plain value, and such an object equals nothing")

    def __bool__(self) -> bool:
        raise TypeError("the program returned an object that is no plain value, and it is neither true nor false")

    __hash__ = None  # type: ignore[assignment]


class Ask:
    """Sends one call to the program and waits for its answer."""

    def __init__(self, stream: BufferedRWPair) -> None:
        self.stream = stream

    def __call__(self, target: str | int, action: str, arguments: object) -> Any:  # noqa: ANN401 - a plain value
        """Return the answer.

        Raises:
            Exception: what the program raised, as a built-in class.
        """
        request = encode((_reference(target), action, arguments), _number)
        try:
            self.stream.write(json.dumps(request).encode() + b"\n")
            self.stream.flush()
            line = self.stream.readline(LONGEST_LINE)
        except OSError:
            _gone()
        if not line.endswith(b"\n"):
            _gone()
        reply = json.loads(line)
        if "error" in reply:
            raise _ERRORS.get(str(reply["error"]), ProgramError)(f"in the program: {reply.get('message')}")
        return decode(reply["value"], lambda number: Remote(self, number))


def _reference(target: str | int) -> object:
    return target if isinstance(target, str) else _Number(target)


class _Number:
    def __init__(self, number: int) -> None:
        self.number = number


def _number(value: object) -> int:
    if isinstance(value, _Number):
        return value.number
    if isinstance(value, Remote) and isinstance(value._target, int):
        return value._target
    raise TypeError(f"a test passes a {type(value).__name__}, which is no plain value")


def _gone() -> NoReturn:
    # Not an exception: tests that expect one would take it for the program's.
    os.write(2, b"the program ended before its tests did\n")
    os._exit(PROGRAM_GONE)


def judge(channel: socket.socket, names: list[str], setup: str, script: str) -> None:
    """Run `setup` and then the tests in `script`, with `names` standing for what the program defines.

    Raises:
        Exception: a test failed.
    """
    ask = Ask(channel.makefile("rwb"))
    namespace: dict[str, Any] = {"__name__": "tests", "__builtins__": builtins}
    exec(compile(setup, "setup.py", "exec"), namespace)  # noqa: S102 - this is the sandbox
    namespace.update({name: Remote(ask, name) for name in names})
    exec(compile(script, "tests.py", "exec"), namespace)  # noqa: S102 - this is the sandbox
