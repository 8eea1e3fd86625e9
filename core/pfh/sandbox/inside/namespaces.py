"""Linux calls that the standard library of Python 3.11 lacks: namespaces, mounts, capabilities."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = (
    0x20000,
    0x8000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 32, 4096
PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER = 24, 36
CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def unshare_job(as_root: bool) -> None:
    """Give this process and its children namespaces of their own: mounts, processes, network, IPC and users.

    A root process needs no namespace of users: its job becomes an unprivileged user instead (`drop_privileges`).

    Raises:
        OSError: the kernel or the container forbids it.
    """
    flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWNET
    user, group = os.getuid(), os.getgid()
    _check("unshare", _libc.unshare(flags if as_root else flags | CLONE_NEWUSER))
    if not as_root:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def private_files(megabytes: int, as_root: bool) -> None:
    """Mount an empty /tmp, which is /dev/shm too, and the job's own /proc; all else there is read-only.

    Raises:
        OSError: a mount failed.
    """
    flags = MS_NOSUID | MS_NODEV
    options = f"size={megabytes}m,nr_inodes=4096,mode=1777".encode()
    _check("mount /tmp", _libc.mount(b"tmpfs", b"/tmp", b"tmpfs", flags, options))
    _check("mount /dev/shm", _libc.mount(b"/tmp", b"/dev/shm", None, MS_BIND, None))
    _check("mount /proc", _libc.mount(b"proc", b"/proc", b"proc", flags | MS_NOEXEC, None))
    if not as_root:  # no namespaces within this one; as root this would be the machine's setting
        Path("/proc/sys/user/max_user_namespaces").write_text("0")
    for folder in filter(os.path.isdir, ("/proc/sys", "/proc/pressure")):
        place, kept = folder.encode(), flags | MS_NOEXEC
        _check(f"mount {folder}", _libc.mount(place, place, None, MS_BIND, None))
        _check(f"mount {folder}", _libc.mount(None, place, None, MS_BIND | MS_REMOUNT | MS_RDONLY | kept, None))


def forget_capabilities() -> None:
    """Empty the bounding and the inheritable set: nothing that is executed from here on can gain a capability.

    Raises:
        OSError: the kernel refuses it.
    """
    for capability in range(64):
        if _libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break  # past the last one that this kernel knows
    header, sets = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    _check("capget", _libc.capget(header, sets))
    sets[2] = sets[5] = 0  # effective, permitted, inheritable: low halves, then high halves
    _check("capset", _libc.capset(header, sets))


def drop_privileges(user: int | None) -> None:
    """Become `user` where one is given (root only), and lose every capability.

    No program can win one back: bubblewrap has set no_new_privs, and the bounding set is empty.

    Raises:
        OSError: the process kept something that it should have lost.
    """
    if user is not None:  # a change from user 0 to another clears all capabilities
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        return
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    none = (ctypes.c_uint32 * 6)()
    _check("capset", _libc.capset(header, none))


def adopt_orphans() -> None:
    """Become the parent of descendants whose parent dies, so that none is lost (unconfined jobs only)."""
    if hasattr(_libc, "prctl"):
        _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _check(what: str, result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
