"""`invoke clean --cache` takes from the cache folder what this project made there, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.data.images.downloads import SETS
from app.host.backends.cache import MADE, cached, made_in
from app.host.backends.clean import removal, remove
from app.host.probe.machine import detect
from tests.host.fake_world import FakeWorld
from tests.host.recording import RecordingRunner

ROOT = Path(__file__).resolve().parents[3]
HASH = "0123456789abcdef" * 2
OURS = (
    f"models/sentence-transformers--all-MiniLM-L6-v2/{HASH}01234567/model.safetensors",
    f"models/sentence-transformers--all-MiniLM-L6-v2/{HASH}01234567-without-weights/config.json",
    f"tokenizers/{HASH}/tokenizer.json",
    f"encoded/{HASH}/flat.npy",
    f"encoded/.{HASH}.k3j2h1/flat.npy",
    f"packed/{HASH}/stream.npy",
    f"images/{HASH}/pixels.npy",
    "hub/stanfordnlp_sst2_train-0a1b2c3d.jsonl",
    "torchvision/MNIST/raw/train-images-idx3-ubyte",
    "torchvision/cifar-10-python.tar.gz",
)
THEIRS = (
    "thesis.tex",
    "models/my-model/model.safetensors",
    "images/holiday.jpg",
    "hub/notes.txt",
    "encoded/mine/x.npy",
)


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")


def left(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def clean(folder: Path, root: Path) -> None:
    world = FakeWorld(env={"WORKSPACE_CACHE": str(folder)})
    remove(removal(world, detect(world), root, runs=False, cache=True, images=False), RecordingRunner(root))


def test_a_data_disk_keeps_everything_else(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    fill(disk, *OURS, *THEIRS)
    clean(disk, tmp_path)
    assert left(disk) == set(THEIRS)


def test_a_folder_of_ours_alone_goes_as_a_whole(tmp_path: Path) -> None:
    fill(tmp_path, *OURS)
    assert sorted(path.name for path in made_in(tmp_path)) == sorted({name.split("/")[0] for name in OURS})


def test_links_are_neither_followed_nor_removed(tmp_path: Path) -> None:
    victim, disk = tmp_path / "victim", tmp_path / "disk"
    fill(victim, f"{HASH}/dear")
    disk.mkdir()
    (disk / "packed").symlink_to(victim)
    fill(disk, f"encoded/{HASH}/flat.npy", "encoded/mine")
    (disk / "encoded" / f"{HASH[::-1]}").symlink_to(victim / HASH)
    clean(disk, tmp_path)
    assert left(victim) == {f"{HASH}/dear"}
    assert {path.name for path in (disk / "encoded").iterdir()} == {"mine", HASH[::-1]}


def test_the_home_of_somebody_is_not_the_cache(tmp_path: Path) -> None:
    fill(tmp_path, *THEIRS)
    assert cached(FakeWorld(env={"WORKSPACE_CACHE": str(tmp_path), "HOME": str(tmp_path)})) == []
    assert cached(FakeWorld(env={"HOME": str(tmp_path)})) == []


def test_every_kind_of_data_that_the_package_caches_is_known() -> None:
    code = "".join(path.read_text() for path in (ROOT / "app").rglob("*.py") if "host" not in path.parts)
    kinds = set(re.findall(r'cached_arrays\(\s*"(\w+)"', code)) | set(re.findall(r'cache_folder\(\) / "(\w+)"', code))
    assert kinds == set(MADE)


@pytest.mark.parametrize("name", SETS)
def test_every_set_of_torchvision_is_known(name: str) -> None:
    folders = {"CIFAR10": "cifar-10-batches-py", "CIFAR100": "cifar-100-python"}
    assert re.fullmatch(MADE["torchvision"], folders.get(name, name))
