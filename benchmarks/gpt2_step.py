"""Time the training step of GPT-2 124M at batch 12 x 1,024, next to the card's limits. Needs a GPU.

    python -m benchmarks.gpt2_step                       # bf16 compiled and the other settings, five minutes
    python -m benchmarks.gpt2_step --budget 60s trainer.compile=false

The weights are random, which does not change the cost of a step. The text is read as bytes by a tokenizer made here,
with unused entries up to GPT-2's vocabulary of 50,257, so that the embedding has its size without its tokenizer.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from app.benchmark import results, suite
from app.benchmark.budget import Budget, parse_seconds
from app.benchmark.report import html, markdown
from app.fileio import write_text
from benchmarks.summary import DATA, RESULTS

VOCABULARY = 50_257
SETTINGS = (
    *("model.name=null", "model.pretrained=false", "data.length=1024", "data.stride=1024", "trainer.batch_size=12"),
    *("trainer.precision=bf16", "trainer.compile=true", "trainer.max_epochs=1000000"),
)


def byte_tokenizer(folder: Path, size: int = VOCABULARY) -> Path:
    """Write a tokenizer of bytes with a vocabulary of `size` entries into a folder, and return the folder."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    bytes_ = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*bytes_, *(f"<unused {number}>" for number in range(size - len(bytes_)))]
    tokenizer = Tokenizer(models.BPE(vocab={word: number for number, word in enumerate(words)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_text(folder / "config.json", '{"model_type": "gpt2"}\n')  # a model folder must have one
    return folder


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, write the result as JSON, Markdown and HTML, and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpt2_step", description=__doc__)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--budget", default="300s", metavar="TIME")
    parser.add_argument("--data", type=Path, default=DATA / "tinyshakespeare" / "input.txt", help="a text file")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER")
    options = parser.parse_intermixed_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer = byte_tokenizer(Path(scratch, "tokenizer"))
        settings = [*SETTINGS, f"model.tokenizer={tokenizer}", f"data.train={options.data}", *options.overrides]
        result = suite.run(["gpt2"], settings, Budget(parse_seconds(options.budget)))
    name = re.sub(r"[^a-z0-9]+", "-", result.hardware["device"].lower()).strip("-")
    stem = options.out / f"{result.made[:10]}-gpt2-{name}"
    results.write(result, stem.with_suffix(".json"))
    write_text(stem.with_suffix(".md"), markdown.to_markdown(result))
    write_text(stem.with_suffix(".html"), html.to_html(result))
    print(markdown.to_text(result))
    print(f"\n{stem}.json, .md, .html")


if __name__ == "__main__":
    main()
