"""Advice about memory, for processes that make and drop buffers of megabytes all day."""

import ctypes
import gc

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_MMAP_THRESHOLDS_BYTES = (64 * 1024 * 1024, 32 * 1024 * 1024)  # older glibc takes no more than 32
_TRIM_THRESHOLD_BYTES = 64 * 1024 * 1024
_ARENAS = 1
"""What one thread has freed another may use: with an arena each, the memory kept multiplies."""


_OBJECTS_BEFORE_A_COLLECTION = 50_000


def collect_rarely() -> None:
    """Look for cycles after many allocations only, and never again among what is there now.

    A server makes few cycles; the default looks for them several times in every request.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BEFORE_A_COLLECTION, 20, 20)


def keep_freed_memory() -> bool:
    """Let freed buffers be used again instead of being returned to the system each time.

    Fresh pages have to be zeroed and mapped by the kernel: that made cutting content into chunks
    four times slower. Whether there was a glibc that took the advice.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    mallopt(_M_ARENA_MAX, _ARENAS)
    mmap_set = any(mallopt(_M_MMAP_THRESHOLD, size) for size in _MMAP_THRESHOLDS_BYTES)
    return mmap_set and bool(mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD_BYTES))
