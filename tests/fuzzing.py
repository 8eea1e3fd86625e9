"""Input that goes wrong in every way: valid files changed in their structure, their text and their bytes."""

from __future__ import annotations

import copy
import io
import json
import os
import signal
import time
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from pfh.errors import PfhError

from tests.confined import MEMORY, Ended, forked

SECONDS = float(os.environ.get("PFH_FUZZ_SECONDS", "2"))
"""How long every reader is fuzzed."""
FIRST = int(os.environ.get("PFH_FUZZ_SEED", "0"))
"""Another number draws other input."""
LONGEST = 30
"""Seconds that one input may take."""
TOGETHER = 20

HOSTILE: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 1.5, 2**31, 2**63, -(2**63) - 1, 10**400, 1e308, 5e-324),
    *(float("nan"), float("inf"), float("-inf")),
    *(
        "",
        "\0",
        "\ud800",
        "\x1b[2J\u202e",
        "../../x",
        "/dev/zero",
        "nan",
        "1e999",
        "9" * 5000,
        "x" * 50_000,
        "{{",
        "%s",
    ),
    *([], {}, [[]], [None], [1, "x", None], {"a": 1}, {"": None}, {"a": {"b": [{}]}}, "openai:x@http://127.0.0.1:9"),
)
BYTES = (
    b"\0",
    b"\xff",
    b"\xfe\xff",
    b"\xef\xbb\xbf",
    b"{",
    b"}",
    b"[",
    b'"',
    b"\\ud800",
    b"\n",
    b"\r",
    b"-",
    b"9" * 400,
)


def deep(value: bool) -> bytes:
    """Return JSON that is nested deeper than any parser goes, of objects or of lists."""
    return (b'{"a":' * 50_000 + b"1" + b"}" * 50_000) if value else b"[" * 100_000 + b"]" * 100_000


def _places(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Return every (container, key) of a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        found.append((value, key))
        _places(inner, found)
    return found


@st.composite
def changed(draw: st.DrawFn, valid: Any) -> Any:
    """Change a JSON value in one to three places: replaced, removed, moved, repeated, renamed."""
    value = copy.deepcopy(valid)
    for _ in range(draw(st.integers(1, 3))):
        places = _places(value, [])
        if not places:
            return draw(st.sampled_from(HOSTILE))
        container, key = places[draw(st.integers(0, len(places) - 1))]
        how = draw(st.sampled_from(("hostile", "hostile", "remove", "other", "wrap", "repeat", "more")))
        if how == "hostile":
            container[key] = copy.deepcopy(draw(st.sampled_from(HOSTILE)))
        elif how == "remove":
            del container[key]
        elif how == "other":
            source, name = places[draw(st.integers(0, len(places) - 1))]
            container[key] = copy.deepcopy(source[name])
        elif how == "wrap":
            container[key] = draw(
                st.sampled_from(([container[key]], {"a": container[key]}, str(container[key])[:5000]))
            )
        elif isinstance(container, list):
            container.extend(copy.deepcopy(container[:50]))
        elif how == "more":
            container[draw(st.text(max_size=20))] = copy.deepcopy(draw(st.sampled_from(HOSTILE)))
        else:
            container[f"{key}2"] = copy.deepcopy(container[key])
    return value


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Cut off, flip, insert, repeat or encode bytes otherwise."""
    place = draw(st.integers(0, max(0, len(data) - 1)))
    how = draw(
        st.sampled_from(("cut", "flip", "flip", "insert", "deep", "twice", "drop", "utf-16", "latin-1", "empty"))
    )
    if how == "cut":
        return data[:place]
    if how == "flip" and data:
        return data[:place] + bytes([data[place] ^ draw(st.integers(1, 255))]) + data[place + 1 :]
    if how == "insert":
        return data[:place] + draw(st.one_of(st.sampled_from(BYTES), st.binary(max_size=8))) + data[place:]
    if how == "deep":
        return data[:place] + deep(draw(st.booleans())) + data[place:]
    if how == "twice":
        return data + data
    if how == "drop":
        return data[:place] + data[place + draw(st.integers(1, 64)) :]
    if how in ("utf-16", "latin-1"):
        return data.decode("utf-8", "replace").encode(how, "replace")
    return b""


def json_bytes(value: Any) -> bytes:
    """Return JSON as a careless writer leaves it: NaN is written, lone surrogates too."""
    return json.dumps(value).encode()


def json_file(valid: Any) -> st.SearchStrategy[bytes]:
    """Return JSON texts near to a valid one."""
    text = json_bytes(valid)
    return st.one_of(changed(valid).map(json_bytes), changed(valid).map(json_bytes), damaged(text))


def json_lines(valid: list[Any]) -> st.SearchStrategy[bytes]:
    """Return JSON lines near to valid ones."""

    def lines(rows: Any) -> bytes:
        return b"".join(json_bytes(row) + b"\n" for row in (rows if isinstance(rows, list) else [rows]))

    return st.one_of(changed(valid).map(lines), changed(valid).map(lines), damaged(lines(valid)))


def archive(members: Mapping[str, Any]) -> st.SearchStrategy[bytes]:
    """Return zip archives near to one of JSON members."""

    def packed(parts: Any) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
            for name, value in parts.items():
                text = name.encode("utf-8", "replace").decode() or "x"
                file.writestr(text, value if isinstance(value, bytes) else json_bytes(value))
        return stream.getvalue()

    def one(name: str) -> st.SearchStrategy[bytes]:
        return json_file(members[name]).map(lambda content: packed({**members, name: content}))

    return st.one_of(st.sampled_from(sorted(members)).flatmap(one), damaged(packed(members)))


def folder(
    files: Mapping[str, st.SearchStrategy[bytes]], valid: Mapping[str, bytes]
) -> st.SearchStrategy[dict[str, bytes]]:
    """Return folders in which one file is not as it was, or missing."""

    def one(name: str) -> st.SearchStrategy[dict[str, bytes]]:
        without = {other: content for other, content in valid.items() if other != name}
        strange = files[name].map(lambda content: {**without, name: content})
        return st.one_of(strange, strange, strange, strange, st.just(without))

    return st.sampled_from(sorted(files)).flatmap(one)


def fuzz(strategy: st.SearchStrategy[Any], read: Callable[[Any], object]) -> Ended:
    """Let `read` read what `strategy` draws for `SECONDS`, in a fork of this process.

    It may work or raise an error of the user's; anything else, and taking longer than `LONGEST`, fails the fork, and
    what was read then stands at the end of its stderr.
    """

    def rounds() -> int:
        signal.signal(signal.SIGALRM, _too_long)
        end, number = time.monotonic() + SECONDS, FIRST
        while time.monotonic() < end:
            _round(number, end, strategy, read)
            number += 1
        print((number - FIRST) * TOGETHER)
        return 0

    return forked(rounds, seconds=SECONDS + 3 * LONGEST, memory=2 * MEMORY)


def _round(number: int, end: float, strategy: st.SearchStrategy[Any], read: Callable[[Any], object]) -> None:
    @seed(number)
    @settings(
        max_examples=TOGETHER,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def once(value: Any) -> None:
        if time.monotonic() > end:
            return
        signal.setitimer(signal.ITIMER_REAL, LONGEST)
        try:
            read(value)
        except PfhError as error:
            if error.exit_code != 2:
                raise
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    once()


def _too_long(number: int, frame: object) -> None:
    raise AssertionError(f"one input took longer than {LONGEST} s")


def check(ended: Ended) -> None:
    """Fail if a fuzz did."""
    said = "\n".join(line[:300] for line in ended.stderr.splitlines())
    assert ended.code == 0, said[-8000:]
    assert ended.grown < MEMORY, f"{ended.grown >> 20} MiB"
