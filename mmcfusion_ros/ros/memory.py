"""How the process uses the heap of the C library (glibc; nothing happens with another one)."""

from __future__ import annotations

import contextlib
import ctypes
import gc

M_ARENA_MAX = -8  # glibc's malloc.h


def limit_arenas() -> None:
    """Has all threads share two heaps. By default glibc gives them up to eight for each processor, and every new thread
    that compiles or fuses leaves some of its memory in the one it gets: the process grows with each configure."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)


def give_back() -> None:
    """Frees what only its own parts still refer to, such as all that lived while a node was active, and returns what
    is free to the system."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
