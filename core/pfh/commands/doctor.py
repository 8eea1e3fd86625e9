"""What is installed, what runs on this machine, what is missing and how to get it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from pfh import __version__
from pfh.registry.catalogue import Catalogue
from pfh.registry.plugins import EXTRAS
from pfh.sources.datasets import MIRROR_VARIABLE
from pfh.store.store import default_root

MAIN_LIBRARIES = ("torch", "transformers", "trl", "peft", "datasets")


HUB_SECONDS = 3.0


SPACE_NEEDED = 2.0
"""GiB that the store should have free."""


Status = Literal["ok", "missing", "broken"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    status: Status
    """"missing" is something that a run may do without; with something "broken" it cannot."""
    detail: str
    remedy: str = ""
    """What to do about it, where something can be done."""


def examine() -> Iterator[Finding]:
    """Look at everything that a run may need, the quick things first; takes some seconds at most."""
    yield Finding(subject="python", status="ok", detail=f"{platform.python_version()} at {sys.executable}")
    yield Finding(subject="pfh", status="ok", detail=f"{__version__} at {Path(__file__).parents[1]}")
    yield from _libraries()
    yield _gem()
    yield _plugins()
    yield _store(default_root())
    yield _mirror(os.environ.get(MIRROR_VARIABLE, ""))
    yield _hub()
    yield _sandbox()
    for module, extra in EXTRAS.items():
        yield _extra(module, extra)
    yield from _devices()


def _libraries() -> Iterator[Finding]:
    """Compare what is installed with what the metadata of pfh asks for."""
    from packaging.requirements import Requirement

    needed = [Requirement(text) for text in requires("pfh") or ()]
    needed = [library for library in needed if library.marker is None or library.marker.evaluate({"extra": ""})]
    fitting = 0
    for library in needed:
        remedy = f"pip install '{library.name}{library.specifier}'"
        try:
            found = version(library.name)
        except PackageNotFoundError:
            yield Finding(subject=library.name, status="broken", detail="not installed", remedy=remedy)
            continue
        if library.specifier.contains(found, prereleases=True):
            fitting += 1
        else:
            detail = f"{found} is installed, pfh needs {library.specifier}"
            yield Finding(subject=library.name, status="broken", detail=detail, remedy=remedy)
    if fitting == len(needed):
        main = ", ".join(f"{name} {version(name)}" for name in MAIN_LIBRARIES)
        yield Finding(subject="libraries", status="ok", detail=f"all {fitting} fit; {main}")


def _gem() -> Finding:
    if find_spec("gem"):
        return Finding(subject="gem", status="ok", detail=f"gem-llm {version('gem-llm')}")
    return Finding(
        subject="gem",
        status="missing",
        detail="its environments are not there: gem-llm excludes Python 3.12.1 and later",
        remedy="use Python 3.11, or: pip install --ignore-requires-python gem-llm",
    )


def _plugins() -> Finding:
    catalogue = Catalogue()
    plugins = list(catalogue)
    twice = sorted({plugin.key for plugin in plugins if len(catalogue.providers(plugin)) > 1})
    return Finding(
        subject="plugins",
        status="ok",
        detail=f"{len(plugins)} installed" + (f"; provided twice: {', '.join(twice)}" if twice else ""),
        remedy="pfh list-plugins --check imports each",
    )


def _store(root: Path) -> Finding:
    there = next(folder for folder in (root, *root.absolute().parents) if folder.exists())
    try:
        free = shutil.disk_usage(there).free / 2**30
    except OSError as error:
        return Finding(subject="store", status="broken", detail=f"{root}: {error}", remedy="set PFH_STORE")
    detail = f"{root}, {free:.1f} GiB free"
    if not (there.is_dir() and os.access(there, os.W_OK)):
        return Finding(subject="store", status="broken", detail=f"{root} cannot be written", remedy="set PFH_STORE")
    if free < SPACE_NEEDED:
        remedy = f"free {SPACE_NEEDED:.0f} GiB, or set PFH_STORE to a folder on another disk"
        return Finding(subject="store", status="broken", detail=detail, remedy=remedy)
    return Finding(subject="store", status="ok", detail=detail)


def _mirror(named: str) -> Finding:
    if not named:
        detail = f"{MIRROR_VARIABLE} is not set; datasets come from the hub or its cache"
        return Finding(subject="data mirror", status="missing", detail=detail)
    if not Path(named).is_dir():
        remedy = f"set {MIRROR_VARIABLE} to a folder, or unset it"
        return Finding(subject="data mirror", status="broken", detail=f"{named} is no folder", remedy=remedy)
    return Finding(subject="data mirror", status="ok", detail=named)


def _hub() -> Finding:
    """Ask the hub for a sign of life; a thread, because a name look-up knows no time limit."""
    from huggingface_hub import constants

    if constants.is_offline_mode():
        detail = "not asked: HF_HUB_OFFLINE is set; hub ids are found in the local cache"
        return Finding(subject="hub", status="missing", detail=detail)
    answers: list[str] = []
    asking = threading.Thread(target=lambda: answers.append(_hub_problem(constants.ENDPOINT)), daemon=True)
    asking.start()
    asking.join(HUB_SECONDS + 1)
    problem = answers[0] if answers else "no answer in time"
    if problem:
        remedy = "use local paths, a mirror or the hub's cache; HF_HUB_OFFLINE=1 saves the waiting"
        return Finding(subject="hub", status="missing", detail=f"{constants.ENDPOINT}: {problem}", remedy=remedy)
    return Finding(subject="hub", status="ok", detail=constants.ENDPOINT)


def _hub_problem(endpoint: str) -> str:
    from huggingface_hub.utils import get_session, httpx  # type: ignore[attr-defined]

    try:
        get_session().head(endpoint, timeout=HUB_SECONDS)
    except httpx.HTTPError as error:
        return type(error).__name__
    return ""


def _sandbox() -> Finding:
    from pfh.sandbox import available

    problem = available()
    if problem:
        return Finding(subject="sandbox", status="missing", detail=problem)
    return Finding(subject="sandbox", status="ok", detail="programs that models write can be run, without network")


def _extra(module: str, extra: str) -> Finding:
    try:
        return Finding(subject=module, status="ok", detail=version(module))
    except PackageNotFoundError:
        remedy = f"pip install 'pfh[{extra}]'"
        return Finding(subject=module, status="missing", detail="not installed", remedy=remedy)


def _devices() -> Iterator[Finding]:
    """Name the devices that torch can use, and the precisions that are worth using on them."""
    try:
        import torch
    except (ImportError, OSError) as error:
        line = str(error).partition("\n")[0]
        yield Finding(subject="torch", status="broken", detail=line, remedy="pip install --force-reinstall torch")
        return
    yield Finding(subject="cpu", status="ok", detail=_cpu(torch))
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            device = torch.cuda.get_device_properties(index)
            precisions = "float32, float16" + (", bfloat16" if torch.cuda.is_bf16_supported() else "")
            detail = f"{device.name}, {device.total_memory / 2**30:.0f} GiB; {precisions}"
            yield Finding(subject=f"cuda:{index}", status="ok", detail=detail)
    elif torch.backends.mps.is_available():
        yield Finding(subject="mps", status="ok", detail="Apple GPU; float32, float16")
    else:
        built = torch.version.cuda or torch.version.hip
        why = "torch finds none" if built else "this torch is built for CPUs only"
        remedy = "check the driver" if built else "pytorch.org says how to install torch for your GPU"
        yield Finding(subject="gpu", status="missing", detail=why, remedy=remedy)


def _cpu(torch: Any) -> str:  # noqa: ANN401 - the module
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    capability = torch.backends.cpu.get_cpu_capability()
    slow = "" if capability.startswith("AVX512") else "; bfloat16 works but is slow here, float32 is the better choice"
    return f"{cores} cores ({capability}), {memory:.0f} GiB of memory; float32, bfloat16{slow}"
