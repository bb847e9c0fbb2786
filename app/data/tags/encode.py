"""Tagged sentences to token ids and labels, once: arrays in the cache, keyed by what was encoded and how."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from app.data.batch import Batch
from app.data.cache import arrays
from app.data.files import Faults, find_file
from app.data.readable import file_digest
from app.data.tags.read import Keys, read_tagged
from app.data.tags.schemes import Sentence, kinds_of, label_names
from app.data.tags.windows import frame_of, pieces_of, windows_of
from app.data.text.encode import Encoded, Ragged, definition
from app.data.text.packing import IGNORED
from app.errors import DataError, Problem

FORMAT = 1  # raise it when the arrays change their meaning
CHUNK = 10_000  # sentences tokenized at a time: bounds memory, and is enough for the tokenizer's threads

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EncodedTags(Encoded):
    """Sentences of words as windows of token ids; a `DataSet` whose examples are windows."""

    labels: Ragged
    """Class of each kept word at its first token, `IGNORED` at every other; where there are no tags, class 0."""
    sentences: np.ndarray[Any, np.dtype[np.int64]]
    """(N,) sentence of each window; the windows of a sentence follow each other."""
    words: Sequence[Sequence[str]] = field(default=(), repr=False)
    """The sentences themselves, where they are to be given back (predict)."""

    def __getitem__(self, indices: np.ndarray[Any, Any]) -> Batch:
        labels, _ = self.labels.padded(indices, IGNORED)
        counted = int((labels != IGNORED).sum())
        return replace(super().__getitem__(indices), labels=torch.from_numpy(labels), counted=counted)

    def truth(self, window: int) -> list[int]:
        """Classes of the words that a window answers for."""
        labels = self.labels[window]
        return [int(label) for label in labels[labels != IGNORED]]


def tag_names(name: str, keys: Keys) -> list[str]:
    """The classes of a training file: O, and B and I of each type in it. Raises DataError where there is no type."""
    kinds = kinds_of(read_tagged(name, keys))
    if not kinds:
        fix = "tag some of its tokens: B-PER and I-PER for a person, for example"
        raise DataError(Problem("every token of the training file is O", fix, name))
    return label_names(kinds)


def encode_tagged(name: str, keys: Keys, tokenizer: Any, max_length: int, names: Sequence[str]) -> EncodedTags:
    """A tagged file as arrays, from the cache once there. Raises DataError, also for a type that is not in `names`."""
    path = find_file(name)
    digest = file_digest(path)
    settings = json.dumps([FORMAT, "tagged", path.suffix, keys.tokens, keys.tags, max_length, list(names)])
    key = hashlib.sha256("\n".join([digest, definition(tokenizer), settings]).encode()).hexdigest()

    def encoded() -> list[np.ndarray[Any, Any]]:
        sentences = read_tagged(name, keys)
        faults = Faults(path)
        places = {tag: i for i, tag in enumerate(names)}
        _check_types(sentences, places, faults)
        faults.raise_if_any()
        labels = [[places[tag] for tag in sentence.tags] for sentence in sentences]
        built = encode_words(tokenizer, [sentence.tokens for sentence in sentences], labels, max_length)
        return [built.ids.flat, built.labels.flat, built.ids.offsets, built.sentences]

    ids, labels, offsets, owners = arrays("encoded", key, ("ids", "labels", "offsets", "sentences"), encoded)
    pad = tokenizer.pad_token_id or 0
    return EncodedTags(Ragged(ids, offsets), pad, digest, Ragged(labels, offsets), owners)


def encode_words(
    tokenizer: Any, sentences: Sequence[Sequence[str]], labels: Sequence[Sequence[int]], max_length: int
) -> EncodedTags:
    """Windows of at most `max_length` tokens over sentences of words, one label a word; no word is lost."""
    frame = frame_of(tokenizer)
    room = min(max_length, tokenizer.model_max_length) - len(frame)
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
                tokens, marks = list(frame.before), [IGNORED] * len(frame.before)
                for word in window.read:
                    piece = pieces[word][:room]
                    tokens += piece
                    mark = labels[number][word] if word in window.kept else IGNORED
                    marks += [mark] + [IGNORED] * (len(piece) - 1)
                ids.append(tokens + frame.after)
                targets.append(marks + [IGNORED] * len(frame.after))
                owners.append(number)
    if cut:
        log.warning("%d words have more than %d tokens: their first %d stand for them", cut, room, room)
    pad = tokenizer.pad_token_id or 0
    return EncodedTags(Ragged.of(ids), pad, "", Ragged.of(targets), np.array(owners, dtype=np.int64), sentences)


def _check_types(sentences: Sequence[Sentence], places: dict[str, int], faults: Faults) -> None:
    """A fault for each type that training knows nothing of, at its first line."""
    known = sorted({tag[2:] for tag in places if tag != "O"})
    unknown: dict[str, int] = {}
    for sentence in sentences:
        for tag, line in zip(sentence.tags, sentence.lines):
            if tag not in places:
                unknown.setdefault(tag[2:], line)
    for kind, line in unknown.items():
        what = f"type {kind!r} is not one of the training file's: {', '.join(known)}"
        faults.add(line, what, "correct it, or add such entities to train")
