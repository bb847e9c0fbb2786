"""The `data` sections, one class for each kind of data."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from app.schema.section import NonNegative, Section

Length = Annotated[int, Field(ge=1, le=10**8)]  # tokens; beyond it, numbers would no longer fit into the libraries' own


class Generated(Section):
    """Points drawn from a known law, so that the right answer is known."""

    examples: Annotated[int, Field(ge=1, le=10**7)] = 1000
    features: Annotated[int, Field(ge=1, le=1000)] = 3
    noise: NonNegative = 0.1
    """Standard deviation of the noise added to each target (linear regression only)."""


class TextFiles(Section):
    """Texts with one label each: .tsv, .csv, .jsonl or .json files, `hub:OWNER/NAME:SPLIT`, or `shipped:` files.

    A special token's characters, `[SEP]` for example, are text like any other.
    """

    train: str
    dev: str
    test: str | None = None
    text: str = "text"
    """Column of the text if the file has a header; without one, the text is the first column."""
    label: str = "label"
    """Column of the label if the file has a header; without one, the label is the second column."""
    max_length: Length = 256
    """Longer texts are cut to this many tokens, or to the model's longest input if that is less."""


class TaggedFiles(Section):
    """Sentences with a tag for each word: CoNLL columns, .jsonl, `hub:OWNER/NAME:SPLIT`, or `shipped:` files.

    The tags of a file are IOB1, IOB2, IOBES or BILOU.
    """

    train: str
    dev: str
    test: str | None = None
    tokens: str = "tokens"
    """Key of the list of words in .jsonl files."""
    tags: str = "tags"
    """Key of the list of tags in .jsonl files."""
    max_length: Length = 256
    """Longer sentences are read in overlapping windows of so many tokens, or of the model's longest input if less."""


class RunningText(Section):
    """Running text: a text file, or a .jsonl, .tsv or .csv file with one document a row; `shipped:` files too."""

    train: str
    dev: str | None = None
    """Unset: the last tenth of train."""
    test: str | None = None
    text: str = "text"
    """Key or column of the documents in a .jsonl, .tsv or .csv file."""
    length: Length | None = None
    """Tokens of an example; unset: the model's whole context."""
    stride: Length | None = None
    """Tokens between the starts of two training examples; unset: their length; 1: every window of the text."""


class LabelledImages(Section):
    """Images: `digits` (scikit-learn's), `torchvision:MNIST` and the like, or a folder with one folder per class."""

    train: str = "digits"
    dev: str | None = None
    """Unset: a tenth of train."""
    test: str | None = None
    """Unset: a fifth of train. The name of a torchvision set stands for its test images here."""
    side: Annotated[int, Field(ge=1, le=4096)] = 8
    """Images are resized to squares with this many pixels a side."""
    channels: Literal[1, 3] = 1
    """1: grey; 3: colour."""
