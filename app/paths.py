"""The folders that the package reads and writes: shipped recipes and data, and the cache."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from app.errors import ConfigError, Problem

SHIPPED = Path(__file__).parent / "recipes"


def shipped_or_local(name: str) -> Path:
    """Return the path of a data file: `shipped:NAME` in the package, else relative to the working folder."""
    scheme, _, rest = name.partition(":")
    return SHIPPED / "data" / rest if scheme == "shipped" else Path(name).expanduser()


def cache_folder() -> Path:
    """Return the folder of downloaded models and encoded data: $WORKSPACE_CACHE, else ~/.cache/gpu-workspace.

    Raises ConfigError if there is no home, or if a file has the folder's name.
    """
    fix = "name a folder that you may write: WORKSPACE_CACHE=FOLDER"
    named = os.environ.get("WORKSPACE_CACHE")
    try:
        folder = Path(named) if named else Path.home() / ".cache" / "gpu-workspace"
    except RuntimeError as error:
        raise ConfigError(
            Problem("there is no place for the cache: HOME is not set, and the user has none", fix)
        ) from error
    with suppress(OSError):  # the system says more when the folder is used
        if folder.exists() and not folder.is_dir():
            raise ConfigError(Problem("the cache is to be here, and it is no folder", fix, str(folder)))
    return folder
