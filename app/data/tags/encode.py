"""Tagged sentences encoded to token ids and labels once: arrays in the cache, keyed by what was encoded and how."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from app.data.batch import IGNORE_INDEX, Batch
from app.data.cache import cached_arrays
from app.data.files import find_file
from app.data.lines import InputLines, LineErrors
from app.data.reading import file_digest
from app.data.tags.read import Keys, read_tagged
from app.data.tags.schemes import Sentence, entity_types, label_names
from app.data.tags.windows import pieces_of, special_tokens_of, windows_of
from app.data.text.encode import CHUNK, Encoded, Ragged, tokenizer_definition
from app.errors import DataError, Problem

FORMAT = 2  # part of the cache key: raise it when the arrays change their meaning

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EncodedTags(Encoded):
    """Tagged sentences as windows of token ids; a `DataSet` whose examples are windows."""

    labels: Ragged
    """Class of each kept word at its first token, `IGNORE_INDEX` at all others; class 0 if there are no tags."""
    sentences: np.ndarray[Any, np.dtype[np.int64]]
    """(N,) index of the sentence of each window; the windows of a sentence follow each other."""
    words: Sequence[Sequence[str]] = field(default=(), repr=False)
    """The sentences themselves, if the output repeats them (predict)."""
    source: InputLines | None = None
    """The lines of the sentences (predict)."""

    def __getitem__(self, indices: np.ndarray[Any, Any]) -> Batch:
        labels, _ = self.labels.padded(indices, IGNORE_INDEX)
        counted = int((labels != IGNORE_INDEX).sum())
        return replace(super().__getitem__(indices), labels=torch.from_numpy(labels), counted=counted)

    def truth(self, window: int) -> list[int]:
        """Return the classes of the words that a window labels."""
        labels = self.labels[window]
        return [int(label) for label in labels[labels != IGNORE_INDEX]]


def tag_names(name: str, keys: Keys) -> list[str]:
    """Return the classes of a training file: O, and B and I of each type in it. Raises DataError if every tag is O."""
    types = entity_types(read_tagged(name, keys))
    if not types:
        fix = "tag some of its tokens: B-PER and I-PER for a person, for example"
        raise DataError(Problem("every token of the training file is O", fix, name))
    return label_names(types)


def encode_tagged(name: str, keys: Keys, tokenizer: Any, max_length: int, names: Sequence[str]) -> EncodedTags:
    """Return a tagged file as token ids, from the cache if it was encoded before.

    Raises DataError for an unreadable file, and for each type that is not in `names`.
    """
    path = find_file(name)
    digest = file_digest(path)
    settings = json.dumps([FORMAT, "tagged", path.suffix, keys.tokens, keys.tags, max_length, list(names)])
    key = hashlib.sha256("\n".join([digest, tokenizer_definition(tokenizer), settings]).encode()).hexdigest()

    def encode() -> list[np.ndarray[Any, Any]]:
        sentences = read_tagged(name, keys)
        errors = LineErrors(path)
        classes = {tag: i for i, tag in enumerate(names)}
        _check_types(sentences, classes, errors)
        errors.raise_if_any()
        labels = [[classes[tag] for tag in sentence.tags] for sentence in sentences]
        built = encode_words(tokenizer, [sentence.tokens for sentence in sentences], labels, max_length)
        return [built.ids.flat, built.labels.flat, built.ids.offsets, built.sentences]

    ids, labels, offsets, owners = cached_arrays("encoded", key, ("ids", "labels", "offsets", "sentences"), encode)
    pad = tokenizer.pad_token_id or 0
    return EncodedTags(Ragged(ids, offsets), pad, digest, Ragged(labels, offsets), owners)


def encode_words(
    tokenizer: Any, sentences: Sequence[Sequence[str]], labels: Sequence[Sequence[int]], max_length: int
) -> EncodedTags:
    """Return windows of at most `max_length` tokens over sentences of words, with one label a word; none is lost."""
    special = special_tokens_of(tokenizer)
    room = min(max_length, tokenizer.model_max_length) - len(special)
    if room < 1:
        raise DataError(Problem(f"data.max_length: {max_length} leaves no room for a word", "set it to 32 or more"))
    ids: list[list[int]] = []
    targets: list[list[int]] = []
    owners: list[int] = []
    cut = 0
    for start in range(0, len(sentences), CHUNK):
        chunk = pieces_of(tokenizer, sentences[start : start + CHUNK])
        for number, pieces in enumerate(chunk, start):
            cut += sum(len(piece) > room for piece in pieces)
            for window in windows_of([len(piece) for piece in pieces], room):
                tokens, marks = list(special.before), [IGNORE_INDEX] * len(special.before)
                for word in window.read:
                    piece = pieces[word][:room]
                    tokens += piece
                    mark = labels[number][word] if word in window.kept else IGNORE_INDEX
                    marks += [mark] + [IGNORE_INDEX] * (len(piece) - 1)
                ids.append(tokens + special.after)
                targets.append(marks + [IGNORE_INDEX] * len(special.after))
                owners.append(number)
    if cut:
        log.warning("%d words have more than %d tokens: only their first %d are read", cut, room, room)
    pad = tokenizer.pad_token_id or 0
    return EncodedTags(Ragged.of(ids), pad, "", Ragged.of(targets), np.array(owners, dtype=np.int64), sentences)


def _check_types(sentences: Sequence[Sentence], classes: dict[str, int], errors: LineErrors) -> None:
    """Add an error for each type that the training file does not have, at the first line with it."""
    known = sorted({tag[2:] for tag in classes if tag != "O"})
    unknown: dict[str, int] = {}
    for sentence in sentences:
        for tag, line in zip(sentence.tags, sentence.lines):
            if tag not in classes:
                unknown.setdefault(tag[2:], line)
    for kind, line in unknown.items():
        what = f"type {kind!r} is not one of the training file's: {', '.join(known)}"
        errors.add(line, what, "correct it, or add such entities to train")
