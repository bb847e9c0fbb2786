"""Texts encoded to token ids once: memory-mapped arrays in the cache, keyed by what was encoded and how.

The key is a sha256 of the file's bytes, the tokenizer's definition and the settings, so a change of any of them gives
another folder.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tokenizers
import torch

from app.data.batch import Batch
from app.data.cache import cached_arrays
from app.data.files import Columns, LabelCheck, find_file, read_texts
from app.data.lines import InputLines, shortened
from app.data.reading import file_digest
from app.errors import DataError, Problem

FORMAT = 2  # part of the cache key: raise it when the arrays change their meaning
CHUNK = 10_000  # texts or sentences tokenized at a time: bounds memory, and keeps the tokenizer's threads busy


@dataclass(frozen=True)
class Ragged:
    """Sequences of different lengths end to end: sequence i is `flat[offsets[i]:offsets[i + 1]]`."""

    flat: np.ndarray[Any, np.dtype[np.int32]]
    offsets: np.ndarray[Any, np.dtype[np.int64]]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> np.ndarray[Any, np.dtype[np.int32]]:
        return self.flat[self.offsets[i] : self.offsets[i + 1]]

    @property
    def lengths(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.diff(self.offsets)

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> Ragged:
        """Return these rows as one ragged array."""
        offsets = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([len(row) for row in rows], out=offsets[1:])
        flat = np.fromiter((i for row in rows for i in row), dtype=np.int32, count=int(offsets[-1]))
        return cls(flat, offsets)

    def padded(self, indices: np.ndarray[Any, Any], fill: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Return these sequences as a (B, T) int64 array, T the length of the longest, and their lengths (B,)."""
        lengths = self.offsets[indices + 1] - self.offsets[indices]
        rows = np.full((len(indices), int(lengths.max(initial=0))), fill, dtype=np.int64)
        for row, index, length in zip(rows, indices, lengths):
            start = self.offsets[index]
            row[:length] = self.flat[start : start + length]
        return rows, lengths


@dataclass(frozen=True)
class Encoded:
    """Sequences of token ids; a `DataSet` without labels."""

    ids: Ragged
    pad: int
    digest: str
    """sha256 of the file that they came from."""

    @property
    def lengths(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        return self.ids.lengths

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, indices: np.ndarray[Any, Any]) -> Batch:
        rows, lengths = self.ids.padded(indices, self.pad)
        mask = np.arange(rows.shape[1]) < lengths[:, None]
        return Batch(
            inputs={"input_ids": torch.from_numpy(rows), "attention_mask": torch.from_numpy(mask.astype(np.int64))},
            index=torch.from_numpy(np.ascontiguousarray(indices)),
            useful=int(lengths.sum()),
            padded=rows.size,
        )


@dataclass(frozen=True)
class EncodedTexts(Encoded):
    """A file of texts as token ids, with or without labels."""

    labels: np.ndarray[Any, np.dtype[Any]] | None = None
    """(N,) indices into the class names, or float32 numbers."""
    source: InputLines | None = None
    """The lines of the texts (predict)."""

    def __getitem__(self, indices: np.ndarray[Any, Any]) -> Batch:
        batch = super().__getitem__(indices)
        return batch if self.labels is None else replace(batch, labels=torch.from_numpy(self.labels[indices]))


def tokenizer_definition(tokenizer: Any) -> str:
    """Return what decides the ids that a tokenizer gives, as JSON.

    That is tokenizer.json, and what transformers keeps next to it: the side on which a long text is cut, the most
    tokens, the token for unknown words, whether special tokens in a text are text. Its current truncation and padding
    are left out: they change with each use, which would change the cache key and encode the same text again.
    """
    whole = json.loads(tokenizer.backend_tokenizer.to_str())
    parts = {name: part for name, part in whole.items() if name not in ("truncation", "padding")}
    names = ("truncation_side", "model_max_length", "split_special_tokens", "unk_token_id", "eos_token_id")
    settings = {name: getattr(tokenizer, name, None) for name in names}
    return json.dumps([type(tokenizer).__name__, tokenizers.__version__, parts, settings])


def tokenize(tokenizer: Any, texts: Sequence[str], max_length: int) -> Ragged:
    """Return the token ids of texts, special tokens included, truncated to `max_length`."""
    rows: list[list[int]] = []
    for start in range(0, len(texts), CHUNK):
        chunk = list(texts[start : start + CHUNK])
        rows += tokenizer(chunk, truncation=True, max_length=max_length, return_attention_mask=False)["input_ids"]
    return Ragged.of(rows)


def class_names(name: str, columns: Columns) -> list[str]:
    """Return the classes of a training file in order, integers sorted as numbers before other names.

    Raises DataError if there is only one class, if most labels differ, or if they are numbers but not all integers.
    """
    texts = read_texts(name, columns)
    names = sorted(set(texts.labels), key=lambda label: (0, int(label), "") if _is_whole(label) else (1, 0, label))
    numbers = [_number(label) for label in names]
    if not any(map(math.isnan, numbers)) and not all(map(float.is_integer, numbers)):
        what = f"the labels are numbers, {names[0]} to {names[-1]}, and not classes"
        raise DataError(Problem(what, "say task=text-regression", str(texts.path)))
    if len(names) < 2:
        raise DataError(
            Problem(f"every row has the label {names[0]!r}", "training needs at least two classes", str(texts.path))
        )
    if len(texts.labels) >= 10 and 2 * len(names) > len(texts.labels):
        what = f"{len(names)} different labels for {len(texts.labels)} texts are no classes"
        fix = "if the label comes first, head the columns: a first line of label and text"
        raise DataError(Problem(what, fix, str(texts.path)))
    return names


def encode_texts(
    name: str, columns: Columns, tokenizer: Any, max_length: int, classes: Sequence[str] | None
) -> EncodedTexts:
    """Return a labelled file as token ids, from the cache if it was encoded before; `classes` None: labels are numbers.

    Raises DataError for an unreadable file, and for each label that is not in `classes` or not a number.
    """
    path = find_file(name)
    digest = file_digest(path)
    settings = json.dumps([FORMAT, path.suffix, columns.text, columns.label, max_length, classes and list(classes)])
    key = hashlib.sha256("\n".join([digest, tokenizer_definition(tokenizer), settings]).encode()).hexdigest()

    def encode() -> list[np.ndarray[Any, Any]]:
        texts = read_texts(name, columns, _number_check if classes is None else _class_check(classes))
        labels = (
            np.array([_number(label) for label in texts.labels], dtype=np.float32)
            if classes is None
            else np.array([classes.index(label) for label in texts.labels], dtype=np.int64)
        )
        ids = tokenize(tokenizer, texts.texts, max_length)
        return [ids.flat, ids.offsets, labels]

    flat, offsets, labels = cached_arrays("encoded", key, ("flat", "offsets", "labels"), encode)
    return EncodedTexts(Ragged(flat, offsets), tokenizer.pad_token_id or 0, digest, labels)


def _class_check(classes: Sequence[str]) -> LabelCheck:
    """Return a check that refuses labels that are not classes of the training file."""
    known = frozenset(classes)
    wrong = f"is not one of {shortened(', '.join(classes))}", "correct it, or add such rows to train"
    return lambda label: None if label in known else (f"label {shortened(label)!r} {wrong[0]}", wrong[1])


def _number_check(label: str) -> tuple[str, str] | None:
    """Refuse a label that is not a finite number."""
    if math.isnan(_number(label)):
        return f"label {shortened(label)!r} is not a number", "write a number, with a point for the decimals"
    return None


def _number(label: str) -> float:
    """Return the finite number that a label holds, or NaN."""
    try:
        number = float(label)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def _is_whole(label: str) -> bool:
    return re.fullmatch(r"-?\d{1,4000}", label) is not None  # Python refuses to parse an int of more than 4,300 digits
