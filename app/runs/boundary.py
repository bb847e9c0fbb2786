"""A run folder may come from a stranger, so it is checked before anything in it is used.

Regular files and folders inside it only: a link or a device could lead a read, a write or a deletion elsewhere. What is
read whole has a size limit. Numbers from a record are bounded before they become threads or sizes.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from app.errors import Problem, RunError

MAX_ENTRIES = 100_000  # files and folders; a run of ours has about fifty
MAX_RECORD_BYTES = 16 << 20  # of run.json; ours have a few kilobytes
MAX_THREADS = 1024  # more cores than a machine has


def check_run_folder(path: Path) -> None:
    """Raise RunError if a run folder has a link or a special file in it, or too many files to be one of ours."""
    waiting, entries = [path], 0
    try:
        while waiting:
            with os.scandir(waiting.pop()) as found:
                for entry in found:
                    entries += 1
                    mode = entry.stat(follow_symlinks=False).st_mode
                    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                        kind = "a link" if stat.S_ISLNK(mode) else "neither a file nor a folder"
                        fix = "copy what it points to into the run, or remove it"
                        raise RunError(Problem(f"the run contains {kind}", fix, entry.path))
                    if entries > MAX_ENTRIES:
                        what = f"the folder has more than {MAX_ENTRIES:,} files, which no run has"
                        raise RunError(Problem(what, "name the folder of a run", str(path)))
                    if stat.S_ISDIR(mode):
                        waiting.append(Path(entry.path))
    except OSError as error:
        what = f"the run cannot be read: {error.strerror or error}"
        raise RunError(Problem(what, "give yourself access to all of it", error.filename or str(path))) from error


def read_record(path: Path) -> dict[str, Any]:
    """Return the JSON object in a run's record. Raises RunError if it is anything else, or too large."""
    fix = "restore it from a copy; without it the run can't be used"
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise RunError(Problem("not a regular file", fix, str(path)))
        if path.stat().st_size > MAX_RECORD_BYTES:
            raise RunError(Problem(f"larger than {MAX_RECORD_BYTES >> 20} MiB, which no record is", fix, str(path)))
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not valid JSON"
        raise RunError(Problem(f"cannot be read: {reason}", fix, str(path))) from error
    if not isinstance(record, dict):
        raise RunError(Problem("not a JSON object", fix, str(path)))
    return record


def recorded_threads(record: dict[str, Any], path: Path) -> int:
    """Return the number of threads that a run was trained with. Raises RunError if the record has no usable one."""
    hardware = record.get("hardware")
    threads = hardware.get("threads") if isinstance(hardware, dict) else None
    if not isinstance(threads, int) or isinstance(threads, bool) or not 1 <= threads <= MAX_THREADS:
        what = f"hardware.threads is {threads!r}, not a number from 1 to {MAX_THREADS}"
        raise RunError(Problem(what, "restore the record: the bits of a sum depend on this number", str(path)))
    return threads
