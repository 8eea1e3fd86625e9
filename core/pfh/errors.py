"""What can go wrong, by whose fault it is: the exit code of the command line follows from the class."""

from __future__ import annotations

import errno
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from difflib import SequenceMatcher, get_close_matches
from pathlib import Path

EXIT_FELL_SHORT = 1


EXIT_USER = 2


EXIT_STEP_FAILED = 3


_SAID = 200
"""Characters of a parser's message that are quoted."""


class PfhError(Exception):
    """Base of every error that pfh raises on purpose; its message is one clear line for the user."""

    exit_code = EXIT_STEP_FAILED


class UserError(PfhError):
    """The user's input or environment is at fault (exit code 2)."""

    exit_code = EXIT_USER


class PluginError(UserError):
    """A plugin that was asked for cannot be used (exit code 2)."""


class DataUnavailableError(UserError):
    """A dataset cannot be had here; evals turn it into NOT_RUN with this message as the reason."""


class StoreUnwritableError(UserError):
    """The store cannot be written here, or its disk has no room: nothing can be made, whatever it is."""


class StepFailedError(PfhError):
    """A step could not finish (exit code 3); what it had stored is kept, and the message says what to change."""


class NotNumbersError(StepFailedError):
    """A model's outputs are NaN: benchmarks become ERROR with this message as the reason, never a score."""

    def __init__(self, precision: str = "") -> None:
        where = f" in {precision}" if precision else ""
        overflow = "it overflows in this precision (try --dtype bfloat16), or " if precision == "float16" else ""
        super().__init__(
            f"The model's outputs are not numbers (NaN){where}: {overflow}its weights are broken, as after a diverged "
            "training."
        )


class StartAgainError(StepFailedError):
    """A training in several processes ran out of something: started again, it goes on with less of it."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the nearest of `known`, all that are equally near, or an empty string."""
    close = get_close_matches(name, sorted(known), n=3, cutoff=0.5)
    nearness = [SequenceMatcher(None, each, name).ratio() for each in close]
    nearest = [repr(each) for each, ratio in zip(close, nearness, strict=True) if ratio == nearness[0]]
    return f" Did you mean {' or '.join(sorted(nearest))}?" if nearest else ""


LARGEST_FILE = 1 << 32
"""Bytes of a file that is read whole."""


def content_of(file: Path, most: int = LARGEST_FILE) -> bytes:
    """Return what `file` holds, which somebody else may have laid there.

    Raises:
        UserError: it is no file (a pipe or a device would never end), or larger than `most` bytes.
        OSError: it cannot be opened.
    """
    about = file.stat()
    if not stat.S_ISREG(about.st_mode):
        raise UserError(f"{file} is no file: a folder, a pipe or a device cannot be read to its end.")
    if about.st_size > most:
        raise UserError(f"{file} is larger than {most >> 20} MiB, which no such file is.")
    return file.read_bytes()


@contextmanager
def boundary(sentence: Callable[[Exception], str]) -> Iterator[None]:
    """Turn whatever is raised inside into the one line that `sentence` makes of it.

    Raises:
        UserError: anything but what pfh itself said, or what ran out on this machine.
    """
    try:
        yield
    except PfhError:
        raise
    except Exception as error:
        if out_of_resources(error) and not isinstance(error, MemoryError):
            raise
        raise UserError(sentence(error)) from error


def reading(what: str, remedy: str, *, done: str = "read") -> AbstractContextManager[None]:
    """Turn whatever goes wrong while somebody's file or folder is read into one line of the user's.

    The one boundary around a kind of input: parsers raise what they like, and no list of their exceptions is whole.

    Raises:
        UserError: anything but what pfh itself said, or what ran out on this machine.
    """

    def sentence(error: Exception) -> str:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        first = " ".join(lines[:2]) if lines and lines[0].endswith(":") else "".join(lines[:1])
        said = f"{type(error).__name__}: {first[:_SAID]}" if first else type(error).__name__
        return f"{what} cannot be {done} ({said}): {remedy}."

    return boundary(sentence)


def out_of_resources(error: BaseException) -> str:
    """Return one line on the memory or disk that ran out, or an empty string if `error` is about something else."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "The disk is full; free space, or put the store on another disk with --store."
    if _is_device_memory(error):
        return "The accelerator ran out of memory; use a smaller model, smaller batches or shorter completions."
    if isinstance(error, MemoryError) or "DefaultCPUAllocator: can't allocate memory" in str(error):
        return "Out of memory; close other programs, or use a smaller model, smaller batches or shorter completions."
    return ""


def _is_device_memory(error: BaseException) -> bool:
    torch = sys.modules.get("torch")  # without it in the process no such error can have been raised
    return torch is not None and isinstance(error, torch.OutOfMemoryError)
