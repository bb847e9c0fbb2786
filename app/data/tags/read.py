"""Sentences with a tag for each token, from CoNLL columns or JSONL, checked and in IOB2.

.jsonl          {"tokens": ["Ada", "wrote"], "tags": ["B-PER", "O"]}
any other       columns, see `app.data.tags.conll`
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.data.files import Faults, decoded, decoded_lines, find_file, is_unicode, json_object
from app.data.tags.conll import read_columns
from app.data.tags.schemes import Sentence, to_iob2
from app.errors import DataError, Problem


@dataclass(frozen=True)
class Keys:
    """Where a JSON object has its tokens and tags; `tags` is None where there is nothing to learn from (predict)."""

    tokens: str = "tokens"
    tags: str | None = "tags"


def read_tagged(name: str, keys: Keys = Keys()) -> list[Sentence]:
    """Sentences of a file in IOB2. Raises DataError naming each bad line: columns, JSON, tags, mixed schemes."""
    path = find_file(name)
    faults = Faults(path)
    sentences = _read_jsonl(path, keys, faults) if path.suffix == ".jsonl" else read_columns(path, faults)
    found = to_iob2(sentences, faults)
    faults.raise_if_any()
    if not found:
        raise DataError(Problem("the file has no sentences", "give it at least one token<TAB>tag", str(path)))
    return found


def read_untagged(name: str | None, keys: Keys = Keys()) -> list[list[str]]:
    """Tokens to tag, from a .jsonl file, or from lines of text (stdin for None) whose tokens are parted by spaces.

    Raises DataError naming each bad line.
    """
    faults = Faults(Path("stdin") if name is None else find_file(name))
    if name is not None and faults.path.suffix == ".jsonl":
        found = [s.tokens for s in _read_jsonl(faults.path, Keys(keys.tokens, None), faults)]
    else:
        lines = decoded(sys.stdin.buffer, faults) if name is None else decoded_lines(faults.path, faults)
        found = [tokens for _, line in lines if (tokens := line.split())]
    faults.raise_if_any()
    if not found:
        raise DataError(
            Problem(
                "there is nothing to tag", "give one sentence a line, with spaces between its tokens", name or "stdin"
            )
        )
    return found


def _read_jsonl(path: Path, keys: Keys, faults: Faults) -> list[Sentence]:
    found = []
    for number, line in decoded_lines(path, faults):
        row = json_object(number, line, faults) if line.strip() else None
        if row is None:
            continue
        tokens = _strings(row, keys.tokens, number, faults)
        tags = ["O"] * len(tokens or ()) if keys.tags is None else _strings(row, keys.tags, number, faults)
        if tokens is None or tags is None:
            continue
        if len(tokens) != len(tags):
            faults.add(number, f"{len(tokens)} tokens and {len(tags)} tags", "give every token one tag")
        elif not tokens:
            faults.add(number, "the sentence is empty", "remove the line")
        else:
            found.append(Sentence(tokens, tags, [number] * len(tokens)))
    return found


def _strings(row: dict[str, Any], key: str, number: int, faults: Faults) -> list[str] | None:
    """The list of strings under a key, none of them empty; anything else becomes a fault."""
    values = row.get(key)
    if values is None:
        faults.add(
            number,
            f"no {key!r}: the keys are {', '.join(row) or 'none'}",
            f"add {key}, or name the key that holds it in the recipe",
        )
    elif not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        faults.add(number, f"{key!r} is not a list of strings", f'write "{key}": ["...", "..."]')
    elif not all(value.strip() for value in values):
        faults.add(number, f"{key!r} holds an empty string", "write it, or leave token and tag out")
    elif not all(map(is_unicode, values)):
        faults.add(number, f"{key!r} holds half of a surrogate pair", "write the character itself or both halves")
    else:
        return values
    return None
