"""How the sandbox is built: the command line of bubblewrap, and what a program can see inside."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

HOW_TO_INSTALL = "Install bubblewrap (Debian and Ubuntu: apt-get install bubblewrap; Fedora: dnf install bubblewrap)"
HOW_TO_ALLOW = (
    "In a container, start it so that it may create namespaces (Docker: --cap-add SYS_ADMIN --security-opt "
    "seccomp=unconfined --security-opt apparmor=unconfined, or --privileged); on the machine itself, allow user "
    "namespaces (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns)"
)
HOW_TO_GO_ON = "--unsafe-local-code runs it unconfined: only in a machine that you can throw away"

INSIDE = Path(__file__).parent / "inside"
CODE, PACKAGES = "/pfh", "/packages"
ROOT_CAPABILITIES = ("SYS_ADMIN", "SETUID", "SETGID", "SETPCAP", "KILL", "DAC_OVERRIDE", "FOWNER", "SYS_PTRACE")
"""Of supervisors; SYS_PTRACE lets them see how much of a program's memory is shared. Programs have none."""
FIRST_USER = 2**30
"""Run as root, jobs get user ids from here on, which no account has."""


def bubblewrap_command(packages: Sequence[str]) -> list[str]:
    """Return the command up to the program: no network, a read-only system, Python, and nothing of the user's."""
    command = ["bwrap", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    command += ["--die-with-parent", "--new-session", "--clearenv"]
    if os.geteuid() == 0:
        for capability in ROOT_CAPABILITIES:
            command += ["--cap-add", f"CAP_{capability}"]
    else:
        command += ["--unshare-user"]
    command += ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        folder = Path("/", name)
        if folder.is_symlink():
            command += ["--symlink", str(folder.readlink()), str(folder)]
        elif folder.is_dir():
            command += ["--ro-bind", str(folder), str(folder)]
    command += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    prefix = Path(sys.base_prefix).resolve()
    if not prefix.is_relative_to("/usr"):
        for above in (
            *reversed(prefix.parents[:-1]),
            prefix,
        ):  # readable, whatever they are outside: /root often is not
            command += ["--perms", "0755", "--dir", str(above)]
        for name in ("bin", "lib", "lib64"):  # and nothing else of a conda base: it holds packages and environments
            command += ["--ro-bind-try", str(prefix / name), str(prefix / name)]
    for folder in _installed_packages(prefix):  # they may hold benchmark data with its answers
        command += ["--tmpfs", str(folder), "--remount-ro", str(folder)]
    for parent in (PACKAGES, CODE, f"{CODE}/pfh", f"{CODE}/pfh/sandbox"):
        command += ["--perms", "0755", "--dir", parent]
    for folder in package_folders(packages):
        command += ["--ro-bind", str(folder), f"{PACKAGES}/{folder.name}"]
    command += ["--ro-bind", str(INSIDE), f"{CODE}/pfh/sandbox/inside"]
    command += ["--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev", "--tmpfs", "/tmp"]  # noqa: S108 - its own
    command += ["--remount-ro", "/", "--chdir", "/"]
    for name, value in environment().items():
        command += ["--setenv", name, value]
    return command


def environment() -> dict[str, str]:
    """Return the environment of every program."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": "/tmp",  # noqa: S108 - the private one
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "PYTHONIOENCODING": "utf-8:surrogateescape",
        "LD_LIBRARY_PATH": str(Path(sys.base_prefix).resolve() / "lib"),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }


def interpreter() -> str:
    """Return the real Python: a virtual environment's is a link to it."""
    return str(Path(sys.executable).resolve())


def package_folders(packages: Iterable[str]) -> list[Path]:
    """Return where each of `packages` is installed, with the folder of its shared libraries; others are left out."""
    folders = []
    for name in packages:
        spec = find_spec(name)
        if spec is not None and spec.submodule_search_locations:
            folder = Path(next(iter(spec.submodule_search_locations)))
            folders += [path for path in (folder, folder.with_name(f"{name}.libs")) if path.is_dir()]
    return folders


def first_user() -> int | None:
    """Return the first of 256 user ids for jobs when pfh runs as root: others for every process of pfh."""
    if os.geteuid() != 0:
        return None
    lines = [line.split() for line in Path("/proc/self/uid_map").read_text().splitlines()]
    mapped = max(int(inside) + int(count) for inside, _, count in lines)
    first = FIRST_USER + (os.getpid() % 2**21) * 256
    return first if first + 256 <= mapped else max(1, mapped - 1 - 256 * (1 + os.getpid() % 128))


def unavailable() -> str:
    """Say why bubblewrap cannot even be tried, or return an empty string."""
    if sys.platform != "linux":
        return f"programs are confined with Linux namespaces, and this is {sys.platform}"
    if shutil.which("bwrap") is None:
        return "bubblewrap (bwrap) is not installed"
    return ""


def _installed_packages(prefix: Path) -> list[Path]:
    found = []
    for top in {prefix, Path("/usr"), Path("/usr/local")}:
        for pattern in ("lib*/python3*/site-packages", "lib*/python3*/dist-packages"):
            found += [folder for folder in top.glob(pattern) if folder.is_dir() and not folder.is_symlink()]
    return sorted(found)
