"""Messages between the harness and a job: a length, then JSON."""

from __future__ import annotations

import json
import socket
import struct
import time
from typing import Any

LONGEST = 256 * 2**20
"""Bytes; a longer frame is refused."""


def send(channel: socket.socket, message: dict[str, Any]) -> None:
    """Send one message."""
    data = json.dumps(message).encode()
    channel.sendall(struct.pack(">I", len(data)) + data)


def receive(channel: socket.socket, seconds: float | None = None) -> dict[str, Any] | None:
    """Return the next message, or None when the other side is gone.

    Raises:
        TimeoutError: no whole message came within `seconds`.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    header = _exactly(channel, 4, deadline)
    if header is None:
        return None
    (length,) = struct.unpack(">I", header)
    data = _exactly(channel, length, deadline) if length <= LONGEST else None
    return None if data is None else json.loads(data)


def _exactly(channel: socket.socket, count: int, deadline: float | None) -> bytes | None:
    data = bytearray()
    while len(data) < count:
        if deadline is not None:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError
            channel.settimeout(remaining)
        try:
            part = channel.recv(min(count - len(data), 2**20))
        except ConnectionError:
            return None
        if not part:
            return None
        data += part
    return bytes(data)
