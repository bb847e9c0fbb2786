"""The lock's error; test_native.py tests that it keeps two invocations apart."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from app.errors import HostError
from app.host.backends.lock import exclusive


def test_a_lock_of_another_users_is_the_users_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after `sudo invoke up`; root, who may run this test, could open it all the same."""

    def denied(path: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(HostError) as caught, exclusive(tmp_path, "environment"):
        pytest.fail("went on without the lock")
    (problem,) = caught.value.problems
    assert problem.what == f"{tmp_path}/.cache/environment.lock cannot be written: Permission denied"
    assert f"sudo chown -R $(id -un) {tmp_path}/.cache" in problem.fix


def test_what_fails_within_keeps_its_own_error(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), exclusive(tmp_path, "environment"):
        raise PermissionError(13, "another matter")


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_disk_without_locks_is_a_warning(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lustre mounted without `flock`, and some NFS."""

    def missing(file: object, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", missing)
    with exclusive(tmp_path, "environment"):
        made = True
    assert made
    said = capsys.readouterr().err
    assert said.startswith(f"warning: the disk of {tmp_path} has no locks ({os.strerror(number)})\n  fix: ")
