"""What the processes of a job use: memory, shared pages counted once, and processor time, all of them together."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

KILOBYTE = 1024
TICKS = os.sysconf("SC_CLK_TCK")


def processes() -> Iterator[Path]:
    """Yield the folder in /proc of every process of the job, but not of its supervisor, which is process 1."""
    for folder in Path("/proc").glob("[0-9]*"):
        if folder.name != "1":
            yield folder


def memory() -> int:
    """Return the bytes that the job holds: anonymous and shared memory, but no pages of files.

    A page that several processes map is shared out among them where the kernel says how (`smaps_rollup`), else it
    counts for each.
    """
    kilobytes = 0
    for folder in processes():
        with contextlib.suppress(OSError):  # it has ended
            kilobytes += _proportional(folder) or _resident(folder)
    return kilobytes * KILOBYTE


def _proportional(folder: Path) -> int:
    with contextlib.suppress(OSError):
        return _sum((folder / "smaps_rollup").read_text(), ("Pss_Anon:", "Pss_Shmem:"))
    return 0


def _resident(folder: Path) -> int:
    return _sum((folder / "status").read_text(), ("RssAnon:", "RssShmem:"))


def _sum(text: str, names: tuple[str, ...]) -> int:
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith(names))


@dataclass
class ProcessorTime:
    """Processor time of a job, and the time that its first process was kept waiting for a processor by others."""

    first: int
    """The program's own process."""
    seconds: float = 0.0
    """Of all its processes together, those that have ended included as far as they were seen or waited for."""
    waited: float = 0.0
    _seen: dict[str, float] = field(default_factory=dict)
    """Process to its seconds when it was last looked at."""

    def look(self) -> None:
        """Bring the figures up to date."""
        for folder in processes():
            with contextlib.suppress(OSError, ValueError, IndexError):  # it has ended
                times = (folder / "stat").read_text().rpartition(")")[2].split()[11:15]
                self._seen[folder.name] = max(self._seen.get(folder.name, 0.0), sum(map(int, times[:2])) / TICKS)
        self.seconds = sum(self._seen.values())
        with contextlib.suppress(OSError, ValueError, IndexError):  # kernels differ in what they count
            self.waited = int(Path(f"/proc/{self.first}/schedstat").read_text().split()[1]) / 1e9
