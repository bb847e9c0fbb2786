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
from app.data.gather import all_of
from app.data.text.corpus import Corpus, pieces
from app.errors import DataError, ModelError, Problem
from app.paths import cache_folder

END = "<|endoftext|>"  # OpenAI's name for the token between two documents
UNKNOWN = "<unk>"  # what a `WordLevel` falls back to; ours has none, so that a strange character is an error
FILE = "tokenizer.json"
FILES = (FILE, "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
FORMAT = 1  # raise it when a tokenizer of the same data would come out differently


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer and the token that ends a document, where it has one."""

    tokenizer: Any
    end: int | None
    folder: Path | None = None
    """Where it was read from."""

    def __len__(self) -> int:
        size: int = self.tokenizer.get_vocab_size()
        return size

    @cached_property
    def digest(self) -> str:
        """sha256 of the tokenizer's whole definition."""
        return hashlib.sha256(self.tokenizer.to_str().encode()).hexdigest()

    @cached_property
    def alphabet(self) -> frozenset[str] | None:
        """The characters it knows, where it knows only some."""
        known = self.tokenizer.get_vocab()
        some = isinstance(self.tokenizer.model, models.WordLevel) and UNKNOWN not in known
        return frozenset(known) if some else None

    def encode(self, texts: Sequence[str]) -> list[np.ndarray[Any, np.dtype[np.int64]]]:
        """Token ids of each text, without special tokens around it. Raises DataError for unknown characters."""
        if self.alphabet is not None:
            strange = sorted(set().union(*texts) - self.alphabet)
            if strange:
                shown = " ".join(map(repr, strange[:10])) + (" ..." if len(strange) > 10 else "")
                fix = "remove them, or train with model.tokenizer=bpe, which knows every character"
                raise DataError(Problem(f"the model's alphabet does not have {shown}", fix))
        encoded = self.tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [np.array(e.ids, dtype=np.int64) for e in encoded]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids; special tokens are left out."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def save(self, folder: Path) -> None:
        """Write tokenizer.json and what else transformers wants: the files it was read from, where it was."""
        if self.folder is not None:
            for name in FILES:
                if (self.folder / name).is_file():
                    shutil.copyfile(self.folder / name, folder / name)
            return
        fileio.write_text(folder / FILE, self.tokenizer.to_str(pretty=True))
        end = None if self.end is None else self.tokenizer.id_to_token(self.end)
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
        fileio.write_json(folder / "tokenizer_config.json", {**config, **({"eos_token": end} if end else {})})


def vocabulary_in(folder: Path) -> Vocabulary:
    """The tokenizer of a model's folder. Raises ModelError where it has no readable tokenizer.json."""
    try:
        tokenizer = Tokenizer.from_file(str(folder / FILE))
    except Exception as error:  # the library raises nothing more particular
        fix = "add tokenizer.json: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) makes it"
        raise ModelError(Problem(f"no tokenizer.json that can be read: {error}", fix, str(folder))) from error
    return Vocabulary(tokenizer, _end_in(folder, tokenizer), folder)


def learned(kind: str, size: int, corpora: Sequence[Corpus]) -> Vocabulary:
    """Tokenizer of `characters` or `bpe` from texts, the same every time, from the cache where it was made before.

    Raises DataError with what is wrong in any of the texts.
    """
    key = json.dumps([FORMAT, kind, size if kind == "bpe" else 0, [c.digest for c in corpora]])
    folder = cache_folder() / "tokenizers" / hashlib.sha256(key.encode()).hexdigest()[:32]
    if not folder.is_dir():
        texts = all_of(corpus.documents for corpus in corpora)
        documents = [document for text in texts for document in text]
        made = characters(documents, max(map(len, texts)) > 1) if kind == "characters" else byte_pairs(documents, size)
        with fileio.new_folder(folder) as building:
            made.save(building)
    return vocabulary_in(folder)


def characters(documents: Sequence[str], end: bool = False) -> Vocabulary:
    """Every character that occurs, in the order of Unicode, and where texts hold several documents an end token."""
    alphabet = sorted(set().union(*documents))
    tokenizer = Tokenizer(models.WordLevel({character: i for i, character in enumerate(alphabet)}, UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    if end:
        tokenizer.add_special_tokens([END])
    return Vocabulary(tokenizer, tokenizer.token_to_id(END))


def byte_pairs(documents: Sequence[str], size: int) -> Vocabulary:
    """GPT-2's kind of tokenizer, byte-level BPE, with at most `size` tokens. Raises ModelError for a size below 257."""
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


def _end_in(folder: Path, tokenizer: Any) -> int | None:
    """The end token that tokenizer_config.json or config.json names, else OpenAI's where the tokenizer has it."""
    named = _json(folder / "tokenizer_config.json").get("eos_token")
    named = named.get("content") if isinstance(named, dict) else named
    if isinstance(named, str) and tokenizer.token_to_id(named) is not None:
        found: int = tokenizer.token_to_id(named)
        return found
    configured = _json(folder / "config.json").get("eos_token_id")
    configured = configured[0] if isinstance(configured, list) and configured else configured
    openais: int | None = tokenizer.token_to_id(END)
    return configured if isinstance(configured, int) and 0 <= configured < tokenizer.get_vocab_size() else openais


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
