"""The format of a data file, by its suffix; upper and lower case are the same.

A file of another suffix is read as plain text, unless it is known to be something else: the markup or the keys of such
a file would be learned as if they were text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from app.data.reading import reading
from app.errors import DataError, Problem

Format = Literal["tsv", "csv", "jsonl", "json"]
"""Rows with columns: tables, JSON objects one a line, or a JSON array of objects."""

FORMATS: dict[str, Format] = {
    ".tsv": "tsv",
    ".tab": "tsv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".jsonlines": "jsonl",
    ".json": "json",
}
PLAIN = ("", ".txt", ".text")  # any content is text
OTHER = (
    ".7z .arrow .avro .bin .bz2 .db .doc .docx .epub .feather .gz .h5 .hdf5 .htm .html .npy .npz .odt .orc .parquet "
    ".pdf .pickle .pkl .pt .pth .rtf .safetensors .sqlite .svg .tar .tgz .toml .xhtml .xls .xlsx .xml .xz .yaml .yml "
    ".zip .zst"
)
MARKUP = (b"<?xml", b"<!doctype", b"<html", b'{"', b"[{", b"%pdf")
FIX = "save it as .tsv, .csv or .jsonl with a text a row, or as .txt if all of it is text"


def format_of(path: Path) -> Format | None:
    """Return the format of a file with columns; None for plain text.

    Raises DataError if the suffix, or the beginning of a file of an unknown suffix, shows that it is neither.
    """
    suffix = path.suffix.lower()
    if suffix in FORMATS:
        return FORMATS[suffix]
    if suffix in OTHER.split(" "):
        raise DataError(Problem(f"{suffix} is not a known format", FIX, str(path)))
    if suffix not in PLAIN and path.is_file():
        with reading(path), path.open("rb") as file:
            start = file.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        if start.startswith(MARKUP):
            raise DataError(Problem("the file starts with markup or keys, not with text", FIX, str(path)))
    return None
