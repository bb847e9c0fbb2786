"""One training by one side, timed, in a process of its own: this package, or transformers' Trainer.

    python -m benchmarks.sides trainer-best --task sentiment --train train.tsv --dev dev.tsv

prints one JSON object: seconds of training alone (no loading, no tokenizing, no evaluation), what went through, and the
score on dev of the trained model.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
MAX_LENGTH = 256


@dataclass(frozen=True)
class Job:
    """The same training for every side."""

    recipe: str
    epochs: int
    batch_size: int
    lr: float
    score: str
    """What dev is judged by, and `tolerance` how far apart two trainings of equal quality may be."""
    tolerance: float


JOBS = {
    # 872 sentences of dev: one standard error of an accuracy of 0.85 is 0.012.
    "sentiment": Job("sentiment", epochs=1, batch_size=32, lr=5e-5, score="accuracy", tolerance=0.025),
    "ner": Job("ner", epochs=3, batch_size=16, lr=2e-4, score="entity_f1", tolerance=0.04),
}
SIDES = ("trainer-default", "trainer-best", "ours", "ours-fp32")


@dataclass(frozen=True)
class Trained:
    """What one training did."""

    seconds: float
    examples: int
    tokens: int
    """Without padding."""
    steps: int
    score: float


def ours(job: Job, train: Path, dev: Path, precision: str) -> Trained:
    """This package, as its recipe ships, at the job's epochs and learning rate."""
    from app.config import load
    from app.finetune.session import prepare

    settings = [f"data.train={train}", f"data.dev={dev}", f"data.test={dev}", f"trainer.max_epochs={job.epochs}"]
    settings += [f"optimizer.lr={job.lr}", f"trainer.batch_size={job.batch_size}", f"trainer.precision={precision}"]
    session = prepare(load(job.recipe, settings))
    start = time.perf_counter()
    loop = session.fit()
    seconds = time.perf_counter() - start
    score = session.evaluate("dev").scores.values[job.score]
    lengths = session.splits.train.lengths
    return Trained(seconds, job.epochs * len(lengths), job.epochs * int(lengths.sum()), loop.position.step, score)


def theirs(task: str, job: Job, train: Path, dev: Path, best: bool) -> Trained:
    """transformers' Trainer with its defaults, or with length grouping and bf16."""
    import numpy as np
    import torch
    from transformers import Trainer, TrainingArguments

    from app.models.fetch import model_folder

    folder = model_folder(MODEL)
    make = texts if task == "sentiment" else tagged
    model, collator, train_set, dev_set, score = make(folder, train, dev)
    arguments = TrainingArguments(
        output_dir="unused",
        num_train_epochs=job.epochs,
        per_device_train_batch_size=job.batch_size,
        learning_rate=job.lr,
        warmup_ratio=0.1,
        weight_decay=0.01,
        group_by_length=best,
        bf16=best,
        use_cpu=not torch.cuda.is_available(),
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        seed=1,
    )
    trainer = Trainer(model=model, args=arguments, data_collator=collator, train_dataset=train_set)
    start = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - start
    logits = trainer.predict(dev_set)
    tokens = sum(len(row["input_ids"]) for row in train_set)
    found = score(np.argmax(logits.predictions, axis=-1), logits.label_ids)
    return Trained(seconds, job.epochs * len(train_set), job.epochs * tokens, trainer.state.global_step, float(found))


Made = tuple[Any, Any, list[dict[str, Any]], list[dict[str, Any]], Any]


def texts(folder: Path, train: Path, dev: Path) -> Made:
    """Sentences with a class: model, collator, rows, and accuracy."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding

    tokenizer = AutoTokenizer.from_pretrained(folder)

    def rows(path: Path) -> list[dict[str, Any]]:
        pairs = [line.rsplit("\t", 1) for line in path.read_text(encoding="utf-8").splitlines() if line]
        encoded = tokenizer([text for text, _ in pairs], truncation=True, max_length=MAX_LENGTH)
        return [
            {"input_ids": ids, "attention_mask": mask, "label": int(label)}
            for ids, mask, (_, label) in zip(encoded["input_ids"], encoded["attention_mask"], pairs)
        ]

    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    return model, DataCollatorWithPadding(tokenizer), rows(train), rows(dev), lambda said, truth: (said == truth).mean()


def tagged(folder: Path, train: Path, dev: Path) -> Made:
    """Sentences with a tag a word, on its first piece: model, collator, rows, and strict entity F1."""
    from seqeval.metrics import f1_score
    from seqeval.scheme import IOB2
    from transformers import AutoModelForTokenClassification, AutoTokenizer, DataCollatorForTokenClassification

    from app.data.tags.read import read_tagged

    tokenizer = AutoTokenizer.from_pretrained(folder)
    names = sorted({tag for sentence in read_tagged(str(train)) for tag in sentence.tags})
    place = {name: number for number, name in enumerate(names)}

    def rows(path: Path) -> list[dict[str, Any]]:
        sentences = read_tagged(str(path))
        encoded = tokenizer(
            [sentence.tokens for sentence in sentences],
            is_split_into_words=True,
            truncation=True,
            max_length=MAX_LENGTH,
        )
        made = []
        for number, sentence in enumerate(sentences):
            words = encoded.word_ids(number)
            first = [word is not None and word != before for before, word in zip([None, *words], words)]
            labels = [place[sentence.tags[word]] if opens else -100 for opens, word in zip(first, words)]
            ids, mask = encoded["input_ids"][number], encoded["attention_mask"][number]
            made.append({"input_ids": ids, "attention_mask": mask, "labels": labels})
        return made

    def score(said: Any, truth: Any) -> float:
        pairs = [[(names[s], names[t]) for s, t in zip(a, b) if t != -100] for a, b in zip(said, truth)]
        answers, right = [[s for s, _ in row] for row in pairs], [[t for _, t in row] for row in pairs]
        return float(f1_score(right, answers, mode="strict", scheme=IOB2))

    model = AutoModelForTokenClassification.from_pretrained(folder, num_labels=len(names))
    return model, DataCollatorForTokenClassification(tokenizer), rows(train), rows(dev), score


@contextlib.contextmanager
def stdout_for_the_answer() -> Iterator[None]:
    """Whatever libraries print goes to stderr: stdout is one JSON object."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sides", description=__doc__)
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("--task", choices=tuple(JOBS), required=True)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--dev", type=Path, required=True)
    options = parser.parse_args(argv)
    job = JOBS[options.task]
    with stdout_for_the_answer():
        if options.side.startswith("ours"):
            precision = "fp32" if options.side == "ours-fp32" else "auto"
            trained = ours(job, options.train, options.dev, precision)
        else:
            trained = theirs(options.task, job, options.train, options.dev, best=options.side == "trainer-best")
    print(json.dumps(asdict(trained)))


if __name__ == "__main__":
    main()
