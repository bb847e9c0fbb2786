"""The locks: complete, hashed, agreeing with each other and with the published hashes of the torch wheels."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.errors import HostError
from app.host.backends import lockfiles

FOLDER = Path("docker/locks")
VARIANTS = ("cu117", "cu118", "cpu")
# Wheels whose hash stands in two or more independent public lock files; sources in the .txt files' headers.
PUBLISHED = {
    "torch-cu118.txt": "a7a49d459bf4862f64f7bc1a68beccf8881c2fa9f3e0569608e16ba6f85ebf7b",
    "torch-cpu.txt": "fec257249ba014c68629a1994b0c6e7356e20e1afc77a87b9941a40e5095285d",
    "torch-cu117.txt": "8ced00b3ba471856b993822508f77c98f48a458623596a4c43136158781e306a",
}


def versions(path: Path) -> dict[str, set[str]]:
    entries = lockfiles.blocks(path.read_text())
    return {name: {re.split(r"[ ;\\]", entry)[0] for entry in entries[name]} for name in entries}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.txt")), ids=lambda p: p.name)
def test_every_entry_is_pinned_and_hashed(path: Path) -> None:
    for name, entries in lockfiles.blocks(path.read_text()).items():
        for entry in entries:
            assert re.search(r"==\S+| @ https://\S+", entry), f"{name} is not pinned"
            assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), f"{name} has no hash"


@pytest.mark.parametrize("name", PUBLISHED)
def test_torch_wheel_has_the_published_hash(name: str) -> None:
    entries = lockfiles.blocks((FOLDER / name).read_text())["torch"]
    assert any(PUBLISHED[name] in entry for entry in entries)


@pytest.mark.parametrize("variant", VARIANTS)
def test_torch_set_and_the_rest_share_no_package(variant: str) -> None:
    torch_set, rest = (
        set(lockfiles.blocks((FOLDER / name).read_text())) for name in lockfiles.lock_files(variant, dev=True)
    )
    assert torch_set and not torch_set & rest
    assert all(lockfiles.TORCH_SET.match(name) for name in torch_set)


def test_dev_holds_runtime_at_the_same_versions() -> None:
    runtime, dev = (versions(FOLDER / name) for name in ("runtime.txt", "dev.txt"))
    assert {name: dev.get(name) for name in runtime} == runtime


def test_no_path_of_a_machine_gets_into_a_lock() -> None:
    assert not [p.name for p in FOLDER.glob("*.txt") if re.search(r"(/home/|/root/|/tmp/|\.new-)", p.read_text())]


def test_hash_names_variant_and_kind() -> None:
    hashes = {lockfiles.lock_hash(FOLDER, variant, dev) for variant in VARIANTS for dev in (True, False)}
    assert len(hashes) == 6


def test_the_uv_beside_this_python_resolves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`pip install invoke uv` into an environment that is not activated."""
    (tmp_path / "bin").mkdir()
    uv = tmp_path / "bin" / "uv"
    uv.write_text("#!/bin/sh\necho the uv beside >&2\nexit 1\n")
    uv.chmod(0o755)
    (tmp_path / "dev.in").touch()
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    monkeypatch.setattr("app.host.probe.pythons.PYTHON_BIN", str(tmp_path / "bin"))
    with pytest.raises(HostError, match="the uv beside"):
        lockfiles.write_locks(tmp_path)
    uv.unlink()
    with pytest.raises(HostError, match=r"uv, which makes the locks .* is not installed"):
        lockfiles.write_locks(tmp_path)


def test_a_failed_resolution_leaves_the_old_files(tmp_path: Path) -> None:
    for name in ("torch-cu117.in", "runtime.in", "dev.in", "build.in"):
        (tmp_path / name).write_text("numpy==1.26.4\nnumpy<1\n")  # contradicts itself: no network is asked
    (tmp_path / "dev.txt").write_text("old\n")
    with pytest.raises(HostError, match="numpy"):
        lockfiles.write_locks(tmp_path)
    assert (tmp_path / "dev.txt").read_text() == "old\n"
    assert sorted(p.name for p in tmp_path.glob("*.txt")) == ["dev.txt"]
    assert not list(tmp_path.glob(".new-*"))
