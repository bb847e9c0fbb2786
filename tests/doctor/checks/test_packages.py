"""A package of another version, a missing package and a changed file are found and named."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest

from app.doctor.checks.packages import files, installed_packages, locked_versions, normalized_name, packages
from app.doctor.context import DoctorContext
from app.host.backends.lockfiles import lock_hash
from app.host.probe.machine import ROOT
from tests.doctor.fake_context import context

HASH = " \\\n    --hash=sha256:" + "0" * 64
TORCH = {
    "cu118": "torch @ https://wheels.example/torch-2.0.1%2Bcu118-cp310-cp310-linux_x86_64.whl ; python_version >= '3'",
    "cu117": "torch==2.0.1",
    "cpu": "torch @ https://wheels.example/torch-2.0.1%2Bcpu-cp310-cp310-linux_x86_64.whl ; python_version >= '3'",
}
RUNTIME = ["numpy==1.26.4", "ruamel.yaml==0.18", "pywin32==300 ; sys_platform == 'win32'"]


def add(site: Path, name: str, version: str, text: str = "x = 1\n") -> None:
    """Install a package of one file."""
    module = site / name / "__init__.py"
    module.parent.mkdir(parents=True, exist_ok=True)
    module.write_text(text)
    folder = site / f"{name}-{version}.dist-info"
    folder.mkdir()
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
    rows = [
        f"{name}/__init__.py,sha256={digest},{len(text)}",
        f"../../../bin/{name},sha256={digest},999",
        f"{name}/__pycache__/__init__.cpython-310.pyc,sha256={digest},999",
        f"{folder.name}/RECORD,,",
    ]
    (folder / "RECORD").write_text("\n".join(rows) + "\n")


@pytest.fixture
def there(tmp_path: Path) -> DoctorContext:
    """Return an environment of variant cu118 in which everything is as locked."""
    locks, prefix = tmp_path / "locks", tmp_path / "venv"
    locks.mkdir()
    for variant, entry in TORCH.items():
        (locks / f"torch-{variant}.txt").write_text(entry + HASH + "\n")
    (locks / "runtime.txt").write_text("".join(f"{entry}{HASH}\n" for entry in RUNTIME))
    (locks / "dev.txt").write_text("".join(f"{entry}{HASH}\n" for entry in [*RUNTIME, "pytest==8.0"]))
    site = prefix / "site"
    add(site, "torch", "2.0.1+cu118")
    add(site, "numpy", "1.26.4")
    add(site, "ruamel_yaml", "0.18")
    add(site, "gpu_workspace", "0.1.0")
    return context(site=site, prefix=prefix, locks=locks)


def test_as_locked(there: DoctorContext) -> None:
    assert packages.look(there).detail == "3 packages as locked for cu118, 1 that are not in it"
    add(there.site, "pytest", "8.0")
    assert packages.look(there).detail == "4 packages as locked for cu118, 1 that are not in it"


def test_a_moved_torch_is_named(there: DoctorContext) -> None:
    (there.site / "torch-2.0.1+cu118.dist-info").rename(there.site / "torch-2.4.0.dist-info")
    answer = packages.look(there)
    assert (answer.status, answer.detail) == ("fail", "moved: torch 2.4.0 (locked: 2.0.1+cu118)")
    assert "invoke up" in answer.fix


def test_a_missing_package_and_a_moved_tool_are_named(there: DoctorContext) -> None:
    (there.site / "numpy-1.26.4.dist-info").rename(there.site / "numpy.gone")
    add(there.site, "pytest", "9.0")
    assert packages.look(there).detail == "moved: pytest 9.0 (locked: 8.0); missing: numpy"


def test_variant_by_stamp_and_by_torch(there: DoctorContext, tmp_path: Path) -> None:
    plain = context(env={}, site=there.site, prefix=there.prefix, locks=there.locks)
    assert "for cu118" in packages.look(plain).detail
    (there.prefix / ".workspace-lock").write_text(json.dumps({"variant": "cpu", "lock": "x"}))
    assert packages.look(plain).detail == "moved: torch 2.0.1+cu118 (locked: 2.0.1+cpu)"
    (there.prefix / ".workspace-lock").write_text("not json")
    assert "for cu118" in packages.look(plain).detail


def test_an_environment_that_is_not_the_workspaces_is_a_warning(there: DoctorContext) -> None:
    plain = context(env={}, site=there.site, prefix=there.prefix, locks=there.locks)
    (there.site / "torch-2.0.1+cu118.dist-info").rename(there.site / "torch-2.11.0.dist-info")
    assert packages.look(plain).detail == "torch 2.11.0 is of no variant of the workspace"
    (there.site / "torch-2.11.0.dist-info").rename(there.site / "torch.gone")
    assert packages.look(plain).status == "warn"


def test_locks_that_changed_after_the_installation_are_a_warning(there: DoctorContext) -> None:
    assert there.locks is not None
    stamp = {"variant": "cu118", "lock": lock_hash(there.locks, "cu118", dev=True)}
    (there.prefix / ".workspace-lock").write_text(json.dumps(stamp))
    assert packages.look(there).status == "pass"
    (there.locks / "dev.txt").write_text((there.locks / "dev.txt").read_text().replace("0000", "1111"))
    assert packages.look(there).status == "warn"


def test_without_locks_there_is_nothing_to_compare(there: DoctorContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(there, "locks", None)
    assert packages.look(there).status == "skip"


def test_files_as_recorded(there: DoctorContext) -> None:
    assert files.look(there).detail == "4 files have their size, 2 of torch and numpy their SHA-256"


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("torch", "x = 2\n", "torch: {} has another SHA-256"),
        ("ruamel_yaml", "x = 10\n", "ruamel-yaml: {} has 7 bytes, not 6"),
        ("numpy", None, "numpy: {} is gone"),
    ],
)
def test_a_touched_file_is_named(there: DoctorContext, name: str, text: str | None, part: str) -> None:
    path = there.site / name / "__init__.py"
    path.unlink() if text is None else path.write_text(text)
    answer = files.look(there)
    assert (answer.status, answer.detail) == ("fail", f"1 of 4 files differ: {part.format(path)}")


def test_names_are_normalized() -> None:
    assert normalized_name("Ruamel_Yaml.clib") == "ruamel-yaml-clib"


def test_the_projects_own_locks_are_read() -> None:
    locks = ROOT / "docker" / "locks"
    runtime, dev = (locked_versions((locks / name).read_text()) for name in ("runtime.txt", "dev.txt"))
    assert runtime["numpy"] == "1.26.4"
    assert runtime.items() <= dev.items()
    assert locked_versions((locks / "torch-cu117.txt").read_text())["torch"] == "2.0.1"


def test_this_environment_can_be_listed() -> None:
    assert "pytest" in installed_packages(DoctorContext().site)
