"""Arrays that are computed once: kept in the cache under a key of what they were made from, and memory-mapped.

A folder of arrays appears whole or not at all (`fileio.new_folder`), so an interrupted build leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from app import fileio
from app.errors import DataError, Problem
from app.paths import cache_folder

Array = np.ndarray[Any, np.dtype[Any]]


def cached_arrays(kind: str, key: str, names: Sequence[str], make: Callable[[], Sequence[Array]]) -> list[Array]:
    """Return the arrays of these names in the cache, after calling `make` and storing them if they are missing.

    `key` is a sha256 of everything that decides their content. Raises DataError if they are in the cache but are
    incomplete or cannot be read.
    """
    folder = cache_folder() / kind / key[:32]
    if not folder.is_dir():
        made = make()
        with fileio.new_folder(folder) as building:
            for name, array in zip(names, made):
                np.save(building / f"{name}.npy", array)
    try:
        return [np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in names]
    except (OSError, ValueError, EOFError) as error:  # EOFError: an empty file
        what = f"the cached data cannot be read: {error}"
        raise DataError(Problem(what, f"remove it, and it is made again: rm -r {folder}", str(folder))) from error
