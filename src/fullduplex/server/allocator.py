"""glibc's malloc, told about a process of many short-lived threads that make large objects one after the other.

By default each thread has an arena of its own, and gives the memory of a response back to the system as soon as it is
freed. The next response then costs a page fault for every 4 KiB: a third of what it costs to answer with 256 KiB.
"""

from __future__ import annotations

import ctypes
import os
from asyncio import sslproto

# malloc.h
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8

KEPT_BYTES = 16_777_216  # freed and not given back: 64 responses of 256 KiB
MAPPED_BYTES = 1_048_576  # objects from here on are given back at once, as always


def settle_allocator() -> bool:
    """Have all threads share one arena that keeps a little memory; return whether that was done.

    Not where the environment tunes malloc (``MALLOC_*_``, ``GLIBC_TUNABLES``), and not without glibc.
    """
    if "GLIBC_TUNABLES" in os.environ or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    if "CS_GNU_LIBC_VERSION" not in getattr(os, "confstr_names", ()):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl has the name of glibc's version, and neither that nor this
        return False
    options = ((_M_ARENA_MAX, 1), (_M_TRIM_THRESHOLD, KEPT_BYTES), (_M_MMAP_THRESHOLD, MAPPED_BYTES))
    return all(mallopt(option, value) == 1 for option, value in options)


TLS_READ_BYTES = 65_536  # four records at most: RFC 8446 section 5.1


def settle_tls_buffers() -> None:
    """Have asyncio keep a smaller buffer for each TLS connection: it fills 256 KiB with zeros, idle or not."""
    sslproto.SSLProtocol.max_size = TLS_READ_BYTES
