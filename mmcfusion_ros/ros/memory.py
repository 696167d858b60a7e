"""How the process uses the heap of the C library (glibc; nothing happens with another one)."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os

M_ARENA_MAX = -8  # glibc's malloc.h
SEGMENT_MB = 36  # of one process, with config/fastdds.xml


def share_one_heap() -> None:
    """Has all threads share one heap; to be called before any thread is started, as rclpy's are when it is imported.

    By default glibc gives threads up to eight heaps for each processor. What one network leaves free in its heap the
    next one, loaded by another thread, does not use: the process grows with each configure.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def return_free_memory() -> None:
    """Returns what is free to the system: glibc itself returns only the end of the heap, so that every hole between
    blocks in use stays resident once it was touched. Costs below 1 ms of a processor in a node that fuses 640x480."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def give_back() -> None:
    """Frees what only its own parts still refer to, such as all that lived while a node was active, and returns what
    is free to the system."""
    gc.collect()
    return_free_memory()


def shared_memory_warning(folder: str = "/dev/shm") -> str:
    """Why images will not go through shared memory, though a profile of Fast DDS is set; to be called before the node
    exists. Empty if they will, as far as one can tell."""
    if not {"FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"} & os.environ.keys():
        return ""
    status = os.statvfs(folder)
    free_mb = status.f_bavail * status.f_frsize // 2**20
    if free_mb >= SEGMENT_MB:
        return ""
    return (
        f"{folder} has {free_mb} MB free, not {SEGMENT_MB}: images go over UDP, which loses many; start the container "
        "with --ipc=host or --shm-size=256m, or run: fastdds shm clean"
    )
