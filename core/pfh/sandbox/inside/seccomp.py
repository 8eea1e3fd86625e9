"""A filter on system calls for programs: what reaches past namespaces or memory limits, and nothing that they need.

A denylist. Namespaces, mounts and tracing, so that a program gets no capabilities in a namespace of its own; memory
that belongs to no process and so escapes the limits; and sockets of kinds that a network namespace does not confine,
such as AF_VSOCK, which reaches from a virtual machine to its host.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32 = 0x40000000
"""Numbers from here on are a second set of the same calls on x86_64."""

# Call to its number on (x86_64, aarch64).
_DENIED = {
    "shmget": (29, 194), "semget": (64, 190), "msgget": (68, 186), "ptrace": (101, 117), "pivot_root": (155, 41),
    "mount": (165, 40), "umount2": (166, 39), "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "unshare": (272, 97), "perf_event_open": (298, 241), "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265), "setsid": (112, 157), "setns": (308, 268), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "bpf": (321, 280), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "open_tree": (428, 428), "move_mount": (429, 429),
    "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442),
}  # fmt: skip
_ABSENT = {"memfd_create": (319, 279), "clone3": (435, 435), "memfd_secret": (447, 447)}
"""These fail as on an older kernel, so that libraries fall back; the flags of clone3 cannot be seen by a filter."""
_CLONE, _SOCKET, _SETSOCKOPT = (56, 220), (41, 198), (54, 208)
_NEW_NAMESPACES = 0x7E020000
_SOCKET_FAMILIES = (1, 2, 10)
"""AF_UNIX, AF_INET, AF_INET6."""
_BUFFER_SIZES = (7, 8, 32, 33)
"""SO_SNDBUF, SO_RCVBUF and what forces them: memory of the kernel's that counts for no process."""

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT, _THIRD_ARGUMENT = 0, 4, 16, 32
_ALLOW, _FAIL, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_PR_SET_SECCOMP, _FILTER_MODE = 22, 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def _instructions(machine: str) -> bytes:
    """Assemble the filter (Linux's classic BPF: code, jump if true, jump if false, operand)."""
    column = list(_ARCHITECTURES).index(machine)
    deny, absent = _FAIL | errno.EPERM, _FAIL | errno.ENOSYS
    code = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if machine == "x86_64":
        code += [(_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, deny)]
    for numbers, answer in ((_DENIED, deny), (_ABSENT, absent)):
        for number in numbers.values():
            code += [(_EQUAL, 0, 1, number[column]), (_RETURN, 0, 0, answer)]
    code += [
        (_EQUAL, 0, 4, _CLONE[column]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_ANY_BIT, 0, 1, _NEW_NAMESPACES),
        (_RETURN, 0, 0, deny),
        (_RETURN, 0, 0, _ALLOW),
        (_EQUAL, 0, len(_SOCKET_FAMILIES) + 3, _SOCKET[column]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        *((_EQUAL, len(_SOCKET_FAMILIES) - place, 0, family) for place, family in enumerate(_SOCKET_FAMILIES)),
        (_RETURN, 0, 0, deny),
        (_RETURN, 0, 0, _ALLOW),
        (_EQUAL, 0, len(_BUFFER_SIZES) + 2, _SETSOCKOPT[column]),
        (_LOAD, 0, 0, _THIRD_ARGUMENT),
        *((_EQUAL, len(_BUFFER_SIZES) - place - 1, 0, option) for place, option in enumerate(_BUFFER_SIZES[:-1])),
        (_EQUAL, 0, 1, _BUFFER_SIZES[-1]),
        (_RETURN, 0, 0, deny),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


_machine = os.uname().machine
_filter = _instructions(_machine) if _machine in _ARCHITECTURES else b""
_program = _Program(len(_filter) // 8, _filter)
_prctl = ctypes.CDLL(None, use_errno=True).prctl if _filter else None


def filter_system_calls() -> None:
    """Put this process and its children under the filter, where there is one for this machine's architecture.

    Raises:
        OSError: the kernel refuses it.
    """
    if _prctl is not None and _prctl(_PR_SET_SECCOMP, _FILTER_MODE, ctypes.byref(_program), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "seccomp: " + os.strerror(ctypes.get_errno()))
