"""One at a time: two invocations in one checkout must not make the same thing at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.host.console import say


@contextmanager
def alone(root: Path, what: str) -> Iterator[None]:
    """Wait until no other invocation makes `what`; the lock goes with the process, however that ends."""
    import fcntl  # not on Windows, where this module is still imported

    folder = root / ".cache"
    folder.mkdir(exist_ok=True)
    with (folder / f"{what}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another command is making the {what}; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
