"""The hash that says whether an image is current: what moves it and what does not."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from app.errors import HostError
from app.host.backends.build_inputs import build_inputs
from app.host.probe.machine import detect
from app.host.variants import VARIANTS
from tests.host.fake_world import FakeWorld

SHOW = "0123abcd 2024-05-06T07:08:09+00:00 1714979289\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    shutil.copytree(Path(__file__).parents[3] / "docker", tmp_path / "docker")
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "code.py").write_text("one")
    return tmp_path


def digest(root: Path, env: Mapping[str, str] | None = None, variant: str = "cu117") -> str:
    world = FakeWorld(env=env)
    return build_inputs(world, detect(world), root, VARIANTS[variant]).digest


def test_own_code_compose_files_and_other_variants_locks_do_not_move_it(root: Path) -> None:
    before = digest(root)
    (root / "app" / "code.py").write_text("two")
    (root / "docker" / "compose.gpu.yaml").write_text("services: {}")
    (root / "docker" / "locks" / "torch-cu118.txt").write_text("torch")
    assert digest(root) == before
    assert digest(root, {"PIP_INDEX_URL": "https://mirror.example/simple"}) == before


@pytest.mark.parametrize("file", ["Dockerfile", "entrypoint.sh", "locks/torch-cu117.txt", "locks/dev.txt"])
def test_what_the_image_is_made_of_moves_it(root: Path, file: str) -> None:
    before = digest(root)
    path = root / "docker" / file
    path.write_text(path.read_text() + "\n# changed\n")
    assert digest(root) != before


def test_variant_and_base_move_it(root: Path) -> None:
    assert len({digest(root), digest(root, variant="cpu"), digest(root, {"WORKSPACE_BASE_IMAGE": "x"})}) == 3


def test_labels_are_the_last_commits_so_that_a_second_build_is_the_same_image(root: Path) -> None:
    clean = FakeWorld({f"git -C {root} show": SHOW, f"git -C {root} status": ""})
    inputs = build_inputs(clean, detect(clean), root, VARIANTS["cpu"])
    assert (inputs.revision, inputs.created, inputs.epoch) == ("0123abcd", "2024-05-06T07:08:09+00:00", "1714979289")
    dirty = FakeWorld({f"git -C {root} show": SHOW, f"git -C {root} status": " M app/code.py\n"})
    assert build_inputs(dirty, detect(dirty), root, VARIANTS["cpu"]).revision == "0123abcd-dirty"
    no_git = FakeWorld()
    assert build_inputs(no_git, detect(no_git), root, VARIANTS["cpu"]).created == ""


def test_a_ca_bundle_that_is_not_there_is_said(root: Path) -> None:
    world = FakeWorld(env={"WORKSPACE_CA_BUNDLE": "/nowhere.pem"})
    with pytest.raises(HostError, match=r"WORKSPACE_CA_BUNDLE names /nowhere\.pem"):
        build_inputs(world, detect(world), root, VARIANTS["cpu"])


@pytest.mark.parametrize(("value", "given"), [("1", "1"), ("true", "1"), ("0", None), ("no", None), ("", None)])
def test_slim_is_given_only_if_it_means_yes(root: Path, value: str, given: str | None) -> None:
    """The Dockerfile takes any text for yes, `0` too."""
    world = FakeWorld(env={"WORKSPACE_SLIM": value})
    assert build_inputs(world, detect(world), root, VARIANTS["cpu"]).options.get("SLIM") == given
