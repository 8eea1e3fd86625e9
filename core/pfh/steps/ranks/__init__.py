"""One training in several processes, its ranks: `accelerate launch` starts them, this process waits for them."""

from __future__ import annotations
