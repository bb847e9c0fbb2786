"""Sentences with a tag for each token, from CoNLL columns or JSONL, checked and converted to IOB2.

.jsonl, .json   {"tokens": ["Ada", "wrote"], "tags": ["B-PER", "O"]}
any other       columns, see `app.data.tags.conll`
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.data.files import find_file, read_objects
from app.data.formats import format_of
from app.data.lines import InputLines, LineErrors, decode_lines, is_unicode, parse_object, read_lines, shortened
from app.data.tags.conll import read_columns
from app.data.tags.schemes import Sentence, to_iob2
from app.errors import DataError, Problem


@dataclass(frozen=True)
class Keys:
    """Keys of the tokens and tags in a JSON object; `tags` is None if there are no tags to read (predict)."""

    tokens: str = "tokens"
    tags: str | None = "tags"


def read_tagged(name: str, keys: Keys = Keys()) -> list[Sentence]:
    """Return the sentences of a file in IOB2.

    Raises DataError naming each line with wrong columns, JSON or tags, or with tags of another scheme.
    """
    path = find_file(name)
    errors = LineErrors(path)
    sentences = _read_json(path, keys, errors) if _is_json(path) else read_columns(path, errors)
    found = to_iob2(sentences, errors)
    errors.raise_if_any()
    if not found:
        raise DataError(Problem("the file has no sentences", "give it at least one token<TAB>tag", str(path)))
    return found


def read_untagged(name: str | None, keys: Keys = Keys()) -> tuple[list[list[str]], InputLines]:
    """Return the tokens of sentences to tag, and their lines.

    They come from .jsonl or .json, or from a text file or stdin (None), split at white space. Raises DataError naming
    each bad line.
    """
    errors = LineErrors(Path("stdin") if name is None else find_file(name))
    if name is not None and _is_json(errors.path):
        rows = [(s.lines[0], s.tokens) for s in _read_json(errors.path, Keys(keys.tokens, None), errors)]
    else:
        lines = decode_lines(sys.stdin.buffer, errors) if name is None else read_lines(errors.path, errors)
        rows = [(number, line.split()) for number, line in lines]
    errors.raise_if_any()
    found = [(number, tokens) for number, tokens in rows if tokens]
    if not found:
        fix = "give one sentence a line, with spaces between its tokens"
        raise DataError(Problem("there is nothing to tag", fix, name or "stdin"))
    empty = [number for number, tokens in rows if not tokens]
    return [tokens for _, tokens in found], InputLines([number for number, _ in found], empty)


def _is_json(path: Path) -> bool:
    """Return whether a file holds JSON objects. Raises DataError if it holds neither these nor columns."""
    return format_of(path) in ("json", "jsonl")


def _read_json(path: Path, keys: Keys, errors: LineErrors) -> list[Sentence]:
    found = []
    for number, line in read_objects(path, errors):
        row = parse_object(number, line, errors) if line.strip() else None
        if row is None:
            continue
        tokens = _strings(row, keys.tokens, number, errors)
        tags = ["O"] * len(tokens or ()) if keys.tags is None else _strings(row, keys.tags, number, errors)
        if tokens is None or tags is None:
            continue
        if len(tokens) != len(tags):
            errors.add(number, f"{len(tokens)} tokens and {len(tags)} tags", "give every token one tag")
        elif not tokens:
            errors.add(number, "the sentence is empty", "remove the line")
        else:
            found.append(Sentence(tokens, tags, [number] * len(tokens)))
    return found


def _strings(row: dict[str, Any], key: str, number: int, errors: LineErrors) -> list[str] | None:
    """Return the list of strings under a key, none of them empty; for anything else, add an error and return None."""
    values = row.get(key)
    if values is None:
        what = f"no {key!r}: the keys are {shortened(', '.join(row)) or 'none'}"
        errors.add(number, what, f"add {key}, or name the key that holds it in the recipe")
    elif not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        errors.add(number, f"{key!r} is not a list of strings", f'write "{key}": ["...", "..."]')
    elif not all(value.strip() for value in values):
        errors.add(number, f"{key!r} holds an empty string", "write it, or leave token and tag out")
    elif not all(map(is_unicode, values)):
        errors.add(number, f"{key!r} holds half of a surrogate pair", "write the character itself or both halves")
    else:
        return values
    return None
