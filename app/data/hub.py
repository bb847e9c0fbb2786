"""Data sets of the Hugging Face hub, as files: a split becomes a .jsonl in the cache, and is read like any other.

    hub:OWNER/NAME:SPLIT    hub:OWNER/NAME@REVISION:SPLIT    hub:OWNER/NAME/CONFIG@REVISION:SPLIT

What was fetched once is not asked for again, so a run repeats without the hub; with a revision, on any machine.
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
OTHERWISE = "fetch it where the hub can be reached, and name its .jsonl, .csv or .tsv file"


def hub_file(name: str) -> Path:
    """The .jsonl file of a split, with the names of classes in place of their numbers. Raises DataError."""
    form = FORM.fullmatch(name)
    if form is None:
        raise DataError(Problem(f"{name} names no split of a hub data set", "write hub:OWNER/NAME:SPLIT"))
    readable, exact = re.sub(r"[^\w.@-]", "_", name.removeprefix(SCHEME)), hashlib.sha256(name.encode()).hexdigest()
    path = cache_folder() / "hub" / f"{readable}-{exact[:8]}.jsonl"  # a/b:c and a_b:c read alike, and are not the same
    if not path.is_file():
        rows = _fetched(name, form["name"], form["config"], form["revision"], form["split"])
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(row, ensure_ascii=False, default=str) for row in plain_rows(rows)]  # str: dates and times
        fileio.write_text(path, "".join(f"{line}\n" for line in lines))
    return path


def _fetched(name: str, dataset: str, config: str | None, revision: str | None, split: str) -> Any:
    import datasets
    from datasets.exceptions import DatasetGenerationError, DatasetsError

    for library in ("datasets", "huggingface_hub"):
        logging.getLogger(library).setLevel(logging.ERROR)  # each of five attempts would be told at length
    try:
        return datasets.load_dataset(dataset, config, revision=revision, split=split)
    except (DatasetsError, OSError, ValueError, RuntimeError, ImportError) as error:  # its many ways to fail
        cause = error.__cause__ if isinstance(error, DatasetGenerationError) else None  # itself it says no reason
        reason = ": ".join(first_line(said) for said in (error, cause) if said is not None)
        raise DataError(Problem(f"{name} cannot be fetched: {reason}", OTHERWISE)) from error


def plain_rows(rows: Any) -> Iterator[dict[str, Any]]:
    """Rows of a `datasets.Dataset`; a class is its name, and a class that is not given (-1) is left out.

    So are columns of images, sounds and the like, which would be decoded for nothing.
    """
    rows = rows.select_columns([column for column, feature in rows.features.items() if not hasattr(feature, "decode")])
    named = {column: _names(feature) for column, feature in rows.features.items()}
    for row in rows:
        values = {column: change(row[column]) if (change := named[column]) else row[column] for column in row}
        yield {column: value for column, value in values.items() if value is not None}


def _names(feature: Any) -> Callable[[Any], Any] | None:
    """How the values of a column become the names of their classes; None where they have none."""
    if hasattr(feature, "int2str"):
        return lambda number: feature.int2str(number) if number is not None and number >= 0 else None
    inner = getattr(feature, "feature", None)
    name_of = _names(inner) if inner is not None and not isinstance(inner, dict) else None
    return name_of and (lambda numbers: numbers and [name_of(number) for number in numbers])
