"""Running text for language models: a plain text file, or a .jsonl, .tsv or .csv file with one document a row."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

from app.data.files import Columns, find_file, read_texts
from app.data.formats import format_of
from app.data.lines import LineErrors, read_lines
from app.data.reading import file_digest, read_all
from app.errors import DataError, Problem

Part = Literal["all", "head", "tail"]
TAIL = 0.1  # share of the characters kept for dev if no dev file is named; the same as nanoGPT, so that losses compare
READING = 2  # part of the digest: raise it when the same file would be read as another text
PIECE = 1 << 18  # characters passed to the tokenizer at a time, so that each of its threads has some
# Positions at which a text may be cut without changing a token: GPT-2's pattern joins a run of white space, but a
# single line end between two words is a match alone.
SEAM = re.compile(r"(?<=\S\n)(?=\S)")


@dataclass(frozen=True)
class Corpus:
    """A file of text, or its beginning (`head`) or end (`tail`). The file is read only when it is asked for."""

    path: Path
    column: str = "text"
    """Column or key of the documents in a .jsonl, .tsv or .csv file."""
    part: Part = "all"

    @cached_property
    def digest(self) -> str:
        """sha256 of the file's bytes and of what is taken from it."""
        taken = [file_digest(self.path), str(READING), self.column if format_of(self.path) else "", self.part]
        return hashlib.sha256("\n".join(taken).encode()).hexdigest()

    def documents(self) -> list[str]:
        """Return the texts, with line ends as \\n. Raises DataError naming unreadable lines, or an empty file."""
        documents = _documents(self.path, self.column)
        if self.part == "all":
            return documents
        cut = round(sum(map(len, documents)) * (1 - TAIL))
        return list(_before(documents, cut) if self.part == "head" else _after(documents, cut))


def find_corpus(name: str, column: str = "text", part: Part = "all") -> Corpus:
    """Return the corpus of a file name. Raises DataError if there is no such file."""
    return Corpus(find_file(name), column, part)


def find_corpora(train: str, dev: str | None, test: str | None, column: str = "text") -> dict[str, Corpus]:
    """Return the corpus of each split; without a file for dev, dev is the end of train.

    Raises DataError naming every file that is missing.
    """
    parts: dict[str, tuple[str, Part]] = {"train": (train, "all" if dev else "head")}
    parts["dev"] = (dev, "all") if dev else (train, "tail")
    if test:
        parts["test"] = (test, "all")
    found = read_all(partial(find_corpus, name, column, part) for name, part in parts.values())
    return dict(zip(parts, found))


def pieces(text: str) -> Iterator[str]:
    """Yield the text in pieces of about `PIECE` characters, cut between tokens."""
    start = 0
    while start < len(text):
        seam = SEAM.search(text, start + PIECE)
        end = seam.start() if seam else len(text)
        yield text[start:end]
        start = end


def _documents(path: Path, column: str) -> list[str]:
    if format_of(path):
        return read_texts(str(path), Columns(column, label=None)).texts
    errors = LineErrors(path)
    text = "\n".join(line for _, line in read_lines(path, errors))
    errors.raise_if_any()
    if not text.strip():
        raise DataError(Problem("the file holds no text", "give it some, or name another", str(path)))
    return [text]


def _before(documents: list[str], cut: int) -> Iterator[str]:
    """Yield what comes before character `cut` of the documents end to end."""
    for document in documents:
        if cut <= 0:
            return
        yield document[:cut]
        cut -= len(document)


def _after(documents: list[str], cut: int) -> Iterator[str]:
    for document in documents:
        if cut < len(document):
            yield document[max(0, cut) :]
        cut -= len(document)
