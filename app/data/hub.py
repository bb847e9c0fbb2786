"""Data sets of the Hugging Face hub as files: a split is written as .jsonl into the cache and read like any other file.

    hub:OWNER/NAME:SPLIT    hub:OWNER/NAME@REVISION:SPLIT    hub:OWNER/NAME/CONFIG@REVISION:SPLIT

A split that was downloaded once is not asked for again, so a run repeats without the hub; with a revision, it repeats
on any machine.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from app import fileio
from app.errors import DataError, Problem, first_line
from app.paths import cache_folder

SCHEME = "hub:"
FORM = re.compile(
    r"hub:(?P<name>[\w.-]+(/[\w.-]+)?)(/(?P<config>[\w.-]+))?(@(?P<revision>[\w.-]+))?:(?P<split>[\w.-]+)"
)
OFFLINE_FIX = "download it on a machine that reaches the hub, and name its .jsonl, .csv or .tsv file"


def hub_file(name: str) -> Path:
    """Return the .jsonl file of a split, with class names instead of class numbers.

    Raises DataError if the name has another form or the split cannot be downloaded.
    """
    form = FORM.fullmatch(name)
    if form is None:
        raise DataError(Problem(f"{name} names no split of a hub data set", "write hub:OWNER/NAME:SPLIT"))
    readable, exact = re.sub(r"[^\w.@-]", "_", name.removeprefix(SCHEME)), hashlib.sha256(name.encode()).hexdigest()
    path = cache_folder() / "hub" / f"{readable}-{exact[:8]}.jsonl"  # without the hash, a/b:c and a_b:c would collide
    if not path.is_file():
        rows = _download(name, form["name"], form["config"], form["revision"], form["split"])
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(row, ensure_ascii=False, default=str) for row in plain_rows(rows)]  # str: dates and times
        fileio.write_text(path, "".join(f"{line}\n" for line in lines))
    return path


def _download(name: str, dataset: str, config: str | None, revision: str | None, split: str) -> Any:
    import datasets
    from datasets.exceptions import DatasetGenerationError, DatasetsError

    for library in ("datasets", "huggingface_hub"):
        logging.getLogger(library).setLevel(logging.ERROR)  # they log each of five attempts at length
    try:
        return datasets.load_dataset(dataset, config, revision=revision, split=split)
    except (DatasetsError, OSError, ValueError, RuntimeError, ImportError) as error:  # all that the library raises
        cause = error.__cause__ if isinstance(error, DatasetGenerationError) else None  # only its cause gives a reason
        reason = ": ".join(first_line(each) for each in (error, cause) if each is not None)
        raise DataError(Problem(f"{name} cannot be fetched: {reason}", OFFLINE_FIX)) from error


def plain_rows(rows: Any) -> Iterator[dict[str, Any]]:
    """Yield the rows of a `datasets.Dataset` as JSON-like values.

    A class number becomes the name of its class; a missing one (-1) is left out. Columns of images, audio and the like
    are left out too, because reading them would decode them.
    """
    rows = rows.select_columns([column for column, feature in rows.features.items() if not hasattr(feature, "decode")])
    to_names = {column: _class_namer(feature) for column, feature in rows.features.items()}
    for row in rows:
        values = {column: to_name(row[column]) if (to_name := to_names[column]) else row[column] for column in row}
        yield {column: value for column, value in values.items() if value is not None}


def _class_namer(feature: Any) -> Callable[[Any], Any] | None:
    """Return a function from the values of a column to their class names; None for a column without classes."""
    if hasattr(feature, "int2str"):
        return lambda number: feature.int2str(number) if number is not None and number >= 0 else None
    inner = getattr(feature, "feature", None)
    name_of = _class_namer(inner) if inner is not None and not isinstance(inner, dict) else None
    return name_of and (lambda numbers: numbers and [name_of(number) for number in numbers])
