"""Text to token ids and back: characters, a byte-level BPE learned from the text, or the tokenizer of a model.

All three are a `tokenizers.Tokenizer`, so all are saved as the same tokenizer.json, which transformers reads as well.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from app import fileio
from app.data.reading import read_all
from app.data.text.corpus import Corpus, pieces
from app.errors import DataError, ModelError, Problem
from app.paths import cache_folder

END = "<|endoftext|>"  # OpenAI's name for the token between two documents
UNKNOWN = "<unk>"  # `WordLevel` falls back to this token; ours does not have it, so an unknown character is an error
FILE = "tokenizer.json"
FILES = (FILE, "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
FORMAT = 1  # part of the cache key: raise it when the same data would give another tokenizer


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer and the token that ends a document, if it has one."""

    tokenizer: Any
    end: int | None
    folder: Path | None = None
    """The folder that it was loaded from."""

    def __len__(self) -> int:
        size: int = self.tokenizer.get_vocab_size()
        return size

    @cached_property
    def digest(self) -> str:
        """sha256 of the tokenizer's whole definition."""
        return hashlib.sha256(self.tokenizer.to_str().encode()).hexdigest()

    @cached_property
    def alphabet(self) -> frozenset[str] | None:
        """The characters it knows; None if it can encode any text."""
        known = self.tokenizer.get_vocab()
        some = isinstance(self.tokenizer.model, models.WordLevel) and UNKNOWN not in known
        return frozenset(known) if some else None

    def encode(self, texts: Sequence[str]) -> list[np.ndarray[Any, np.dtype[np.int64]]]:
        """Return the token ids of each text, without special tokens. Raises DataError for unknown characters."""
        if self.alphabet is not None:
            unknown = sorted(set().union(*texts) - self.alphabet)
            if unknown:
                shown = " ".join(map(repr, unknown[:10])) + (" ..." if len(unknown) > 10 else "")
                fix = "remove them, or train with model.tokenizer=bpe, which knows every character"
                raise DataError(Problem(f"the model's alphabet does not have {shown}", fix))
        encoded = self.tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [np.array(e.ids, dtype=np.int64) for e in encoded]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, without special tokens."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def save(self, folder: Path) -> None:
        """Write tokenizer.json and the files that transformers reads with it; a loaded tokenizer's files are copied."""
        if self.folder is not None:
            for name in FILES:
                if (self.folder / name).is_file():
                    shutil.copyfile(self.folder / name, folder / name)
            return
        fileio.write_text(folder / FILE, self.tokenizer.to_str(pretty=True))
        end = None if self.end is None else self.tokenizer.id_to_token(self.end)
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
        fileio.write_json(folder / "tokenizer_config.json", {**config, **({"eos_token": end} if end else {})})


def load_vocabulary(folder: Path) -> Vocabulary:
    """Return the tokenizer of a model's folder. Raises ModelError if it has no readable tokenizer.json."""
    try:
        tokenizer = Tokenizer.from_file(str(folder / FILE))
    except Exception as error:  # the library raises nothing more specific
        fix = "add tokenizer.json: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) makes it"
        raise ModelError(Problem(f"no tokenizer.json that can be read: {error}", fix, str(folder))) from error
    forget_call_state(tokenizer)
    return Vocabulary(tokenizer, _end_token(folder, tokenizer), folder)


def forget_call_state(tokenizer: Any) -> None:
    """Turn off what a tokenizer.json may carry from the last use of its tokenizer: truncation, padding, BPE's dropout.

    `tokenizer` is a `tokenizers.Tokenizer`. Truncation would cut a whole text to one window, padding would add tokens
    that nobody wrote, and dropout (Provilkov et al. 2020) draws other tokens for the same text at every call.
    """
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if getattr(tokenizer.model, "dropout", None):
        model = tokenizer.model
        model.dropout = None
        tokenizer.model = model


def learn_vocabulary(kind: str, size: int, corpora: Sequence[Corpus]) -> Vocabulary:
    """Return a tokenizer of `characters` or `bpe` learned from texts, from the cache if it was learned before.

    The same texts always give the same tokenizer. Raises DataError with all problems of all texts.
    """
    key = json.dumps([FORMAT, kind, size if kind == "bpe" else 0, [c.digest for c in corpora]])
    folder = cache_folder() / "tokenizers" / hashlib.sha256(key.encode()).hexdigest()[:32]
    if not folder.is_dir():
        texts = read_all(corpus.documents for corpus in corpora)
        documents = [document for text in texts for document in text]
        learned = (
            character_vocabulary(documents, end=max(map(len, texts)) > 1)
            if kind == "characters"
            else bpe_vocabulary(documents, size)
        )
        with fileio.new_folder(folder) as building:
            learned.save(building)
    return load_vocabulary(folder)


def character_vocabulary(documents: Sequence[str], end: bool = False) -> Vocabulary:
    """Return a token for every character that occurs, in Unicode order, and with `end` an end token as the last."""
    alphabet = sorted(set().union(*documents))
    tokenizer = Tokenizer(models.WordLevel({character: i for i, character in enumerate(alphabet)}, UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    if end:
        tokenizer.add_special_tokens([END])
    return Vocabulary(tokenizer, tokenizer.token_to_id(END))


def bpe_vocabulary(documents: Sequence[str], size: int) -> Vocabulary:
    """Return a byte-level BPE like GPT-2's with at most `size` tokens. Raises ModelError for a size below 257."""
    least = len(pre_tokenizers.ByteLevel.alphabet()) + 1
    if size < least:
        fix = f"give at least {least}, or take model.tokenizer=characters"
        raise ModelError(Problem(f"model.vocab_size={size} is less than the 256 bytes and the end token", fix))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((piece for document in documents for piece in pieces(document)), trainer)
    return Vocabulary(tokenizer, tokenizer.token_to_id(END))


def _end_token(folder: Path, tokenizer: Any) -> int | None:
    """Return the end token in tokenizer_config.json, else in config.json, else OpenAI's if the tokenizer has it."""
    named = _read_object(folder / "tokenizer_config.json").get("eos_token")
    named = named.get("content") if isinstance(named, dict) else named
    if isinstance(named, str) and tokenizer.token_to_id(named) is not None:
        found: int = tokenizer.token_to_id(named)
        return found
    configured = _read_object(folder / "config.json").get("eos_token_id")
    configured = configured[0] if isinstance(configured, list) and configured else configured
    openais: int | None = tokenizer.token_to_id(END)
    return configured if isinstance(configured, int) and 0 <= configured < tokenizer.get_vocab_size() else openais


def _read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; an empty one if there is none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
