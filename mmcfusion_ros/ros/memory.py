"""How the process uses the heap of the C library (glibc; nothing happens with another one)."""

from __future__ import annotations

import contextlib
import ctypes

M_ARENA_MAX = -8  # glibc's malloc.h


def limit_arenas() -> None:
    """Has all threads share two heaps. By default glibc gives them up to eight for each processor, and every new thread
    that compiles or fuses leaves some of its memory in the one it gets: the process grows with each configure."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)


def give_back() -> None:
    """Returns what is free to the system, such as that of a model that was loaded, compiled and is not needed twice."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
