"""What a machine can run out of, told from any other failure, and what to do about it."""

from __future__ import annotations

import errno
import sys


def shortage(error: BaseException) -> str:
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
