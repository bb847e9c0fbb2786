"""Sections about data, one class for each kind."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from app.schema.section import NotNegative, Section


class Generated(Section):
    """Points drawn from a known law, so that the answer is known."""

    examples: PositiveInt = 1000
    features: PositiveInt = 3
    noise: NotNegative = 0.1
    """Standard deviation of what is added to each target (regression)."""


class TextFiles(Section):
    """Texts with one label each: .tsv, .csv or .jsonl, `hub:OWNER/NAME:SPLIT`, or `shipped:` for the package's own."""

    train: str
    dev: str
    test: str | None = None
    text: str = "text"
    """Column of the text, where the file names its columns; without a header the first is the text."""
    label: str = "label"
    max_length: PositiveInt = 256
    """Tokens of a text that are kept; no more than the model can read."""


class TaggedFiles(Section):
    """Sentences with a tag for each word: CoNLL columns, .jsonl, `hub:OWNER/NAME:SPLIT`, or `shipped:` files.

    The tags are IOB1, IOB2, IOBES or BILOU, each file in one of them.
    """

    train: str
    dev: str
    test: str | None = None
    tokens: str = "tokens"
    """Key of the list of words in .jsonl."""
    tags: str = "tags"
    """Key of the list of tags in .jsonl."""
    max_length: PositiveInt = 256
    """Tokens that are read at a time, no more than the model can; a longer sentence is read in overlapping windows."""


class RunningText(Section):
    """Text to continue: a text file, or .jsonl, .tsv or .csv with one document a row; `shipped:` is in the package."""

    train: str
    dev: str | None = None
    """Unset: the last tenth of train."""
    test: str | None = None
    text: str = "text"
    """Where the documents are in a .jsonl, .tsv or .csv file."""
    length: PositiveInt | None = None
    """Tokens of an example; unset is the model's whole context."""
    stride: PositiveInt | None = None
    """Tokens between the starts of two training examples; unset is their length, 1 is every window there is."""


class LabelledImages(Section):
    """Images: `digits` (scikit-learn's), `torchvision:MNIST` and the like, or a folder with a folder for each class."""

    train: str = "digits"
    dev: str | None = None
    """Unset: a tenth of train."""
    test: str | None = None
    """Unset: a fifth of train. With torchvision the same name gives its test images."""
    side: Annotated[int, Field(ge=1, le=4096)] = 8
    """Images are made square, of this many pixels a side."""
    channels: Literal[1, 3] = 1
    """1: grey; 3: colour."""
