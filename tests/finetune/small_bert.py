"""A BERT of a few thousand parameters and a data set of a few sentences: the whole road in seconds."""

from __future__ import annotations

from pathlib import Path

WORDS = ["good", "bad", "film", "story", "great", "dull", "very", "a", "the", "was", "not"]
ROWS = [
    (f"{article} {noun} was {adverb}{word}", label)
    for article in ("a", "the")
    for noun in ("film", "story")
    for adverb in ("", "very ")
    for word, label in (("good", "positive"), ("great", "positive"), ("bad", "negative"), ("dull", "negative"))
]


def small_bert(folder: Path) -> Path:
    """A folder with random weights as safetensors, config and tokenizer."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir(parents=True)
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "unused"]) + "\n")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS) + 6,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder, safe_serialization=True)
    BertTokenizerFast(vocab_file=str(vocabulary)).save_pretrained(folder)
    return folder


def few_reviews(folder: Path) -> list[str]:
    """Train, dev and test files, as overrides of the sentiment recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"train": ROWS, "dev": ROWS[::3], "test": ROWS[1::3]}
    for split, rows in parts.items():
        lines = "".join(f"{text}\t{label}\n" for text, label in rows)
        (folder / f"{split}.tsv").write_text(lines, encoding="utf-8")
    return [f"data.{split}={folder}/{split}.tsv" for split in parts]
