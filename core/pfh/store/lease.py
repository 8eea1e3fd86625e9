"""Leases: who makes something in a folder that many machines share, without locks that a network file system breaks.

A lease is a folder of generations, files that are numbered from 1, each laid down whole by a hard link, which fails on
every file system where another laid the same number before. The highest tells who holds the lease, or that nobody
does; none is ever removed. A holder counts up in a file of its own. Whoever waits takes over from a process of the same
machine that is dead at once, and from another machine when that count has stood still for long by the clock of the one
who waits: clocks are never compared. The next generation is also how a holder makes sure that it is still one: it seals
the lease before it publishes, and where it cannot, another has taken over.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from pfh.errors import StepFailedError

BEAT = 5.0
"""Seconds between two signs of life."""
EXPIRY = 60.0
"""Seconds without one after which a holder on another machine counts as dead."""
POLL = 0.2
"""Seconds between two looks of one who waits."""
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class LeaseLostError(StepFailedError):
    """Another process has taken the lease over."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A process that holds a lease."""

    owner: str = ""
    """Unlike any other's; empty: nobody holds it."""
    host: str = "?"
    pid: int = 0
    machine: str = ""
    """Equal for processes that can see each other."""
    born: float = 0.0
    """When the process began, which tells it from a later one of the same number."""

    @property
    def dead(self) -> bool:
        """It was a process of this machine, and is gone."""
        import psutil

        if self.machine != this_machine():
            return False
        try:
            return abs(float(psutil.Process(self.pid).create_time()) - self.born) > 1.0
        except psutil.NoSuchProcess:
            return True
        except psutil.Error:
            return False

    @property
    def near(self) -> bool:
        """It is of this machine."""
        return self.machine == this_machine()


class Held(Exception):  # noqa: N818 - no failure: what is asked of is in use
    """Somebody else holds a lease that is not waited for."""

    def __init__(self, holder: Holder) -> None:
        super().__init__(f"process {holder.pid} on {holder.host}")
        self.holder = holder


@cache
def this_machine() -> str:
    """Return what processes that can see each other have in common: a boot of a kernel, and a namespace of them."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return f"{socket.gethostname()} {uuid.getnode()}"


class Lease:
    """A lease in `folder`, which is made when it is first acquired."""

    def __init__(self, folder: Path, expiry: float = EXPIRY) -> None:
        self.folder = folder
        self.stolen = False
        """It was taken over from one that may be alive."""
        self.lost = False
        """Another has taken it over."""
        self._owner = uuid.uuid4().hex
        self._expiry = expiry
        self._beat = min(BEAT, expiry / 4)
        self._generation = 0
        self._over = threading.Event()

    @property
    def generation(self) -> int:
        """Number of the generation that is held."""
        return self._generation

    def acquire(self, *, wait: bool = True, waiting: Callable[[Holder], None] = lambda holder: None) -> None:
        """Hold the lease.

        Args:
            wait: until it is free; otherwise only as long as it takes to see whether its holder is alive.
            waiting: is told once who is waited for.

        Raises:
            Held: it is in use, and not to be waited for.
            OSError: the folder cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        seen: tuple[int, str] | None = None
        since, told = 0.0, False
        while True:
            highest = self._highest()
            holder = self._holder(highest)
            if not holder.owner or holder.dead:
                if self._lay(highest + 1, self._owner):
                    return self._hold(highest + 1, stolen=False)
                continue
            if not told:
                told = True
                waiting(holder)
            sign = highest, self._sign(holder)
            if sign != seen:
                if not wait and (holder.near or seen is not None):
                    raise Held(holder)
                seen, since = sign, time.monotonic()
            elif not holder.near and time.monotonic() - since > self._expiry:
                if self._lay(highest + 1, self._owner):
                    return self._hold(highest + 1, stolen=True)
                continue
            time.sleep(POLL if holder.near else min(1.0, self._beat))

    def seal(self) -> None:
        """Make sure that the lease is still held, and will be for as long as it takes to be given up for dead.

        Raises:
            LeaseLostError: another has taken it over.
        """
        if not self.lost and self._lay(self._generation + 1, self._owner):
            self._generation += 1
            return
        self.lost = True
        raise LeaseLostError("Another process has taken over what this one was making.")

    def release(self) -> None:
        """Let go of the lease; one that another has taken over stays with that one."""
        self._over.set()
        try:
            if not self.lost:
                self._lay(self._generation + 1, "")
            (self.folder / f"{self._owner}.beat").unlink(missing_ok=True)
        except OSError:
            pass  # a full disk or one that is away: this process is seen to end, or to be silent

    def _hold(self, generation: int, *, stolen: bool) -> None:
        self._generation, self.stolen = generation, stolen
        threading.Thread(target=self._beat_on, name=f"lease {self.folder.name}", daemon=True).start()

    def _beat_on(self) -> None:
        """Count up until the lease is released, and notice when another has taken it over."""
        count = 0
        while not self._over.wait(self._beat if count else 0.0):
            count += 1
            try:
                (self.folder / f"{self._owner}.beat").write_text(f"{count:012}")
                holder = self._holder(self._highest())
            except OSError:
                continue  # a disk that is full or away is no reason to give up: others judge by what they see
            if holder.owner != self._owner and not self._over.is_set():
                self.lost = True
                return

    def _highest(self) -> int:
        return max((int(file.name) for file in self.folder.iterdir() if file.name.isdecimal()), default=0)

    def _holder(self, generation: int) -> Holder:
        if not generation:
            return Holder()
        try:
            return Holder(**json.loads((self.folder / str(generation)).read_text()))
        except (ValueError, TypeError):
            return Holder(owner="unknown")  # half written, where a file system has no links

    def _sign(self, holder: Holder) -> str:
        try:
            return (self.folder / f"{holder.owner}.beat").read_text()
        except OSError:
            return ""

    def _lay(self, generation: int, owner: str) -> bool:
        """Lay a generation down; say whether nobody had done so before."""
        holder = Holder(owner=owner, host=socket.gethostname(), pid=os.getpid(), machine=this_machine(), born=_born())
        text = json.dumps(asdict(holder))
        target, own = self.folder / str(generation), self.folder / f"{self._owner}.{generation}"
        _write(own, text)
        try:
            os.link(own, target)
        except FileExistsError:
            return own.stat().st_nlink == 2  # the answer to the first of two equal requests can be lost on a network
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return _write_first(target, text)
        finally:
            own.unlink(missing_ok=True)
        return True


def _write(file: Path, text: str) -> None:
    with file.open("w") as stream:
        stream.write(text)


def _write_first(file: Path, text: str) -> bool:
    try:
        with file.open("x") as stream:
            stream.write(text)
    except FileExistsError:
        return False
    return True


def _born() -> float:
    import psutil

    return float(psutil.Process().create_time())
