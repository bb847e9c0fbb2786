"""One training by one side, timed, in a separate process: this package, or transformers' Trainer.

    python -m benchmarks.sides trainer-best --task sentiment --train train.tsv --dev dev.tsv

prints one JSON object: seconds of training alone (no loading, no tokenizing, no evaluation), the examples and tokens
trained on, the trained model's score on dev, and the dropout of the first training step.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.json_process import stdout_to_stderr

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
MAX_LENGTH = 256


@dataclass(frozen=True)
class Job:
    """The training that every side does."""

    recipe: str
    epochs: int
    batch_size: int
    lr: float
    score: str
    """The score on dev."""
    tolerance: float
    """How much lower the score of a training of equal quality may be."""


JOBS = {
    # 872 sentences of dev: one standard error of an accuracy of 0.85 is 0.012.
    "sentiment": Job("sentiment", epochs=1, batch_size=32, lr=5e-5, score="accuracy", tolerance=0.025),
    "ner": Job("ner", epochs=3, batch_size=16, lr=2e-4, score="entity_f1", tolerance=0.04),
}
SIDES = ("trainer-default", "trainer-best", "ours", "ours-fp32")
DROPOUT_SEEDS = (1, 2)


@dataclass(frozen=True)
class Dropout:
    """The dropout of a model in its first training step."""

    modules: int
    """Dropout modules in training mode, with a rate above 0."""
    p: list[float]
    """Their rates, each once."""
    losses: list[float]
    """Mean losses of the first batch with each of `DROPOUT_SEEDS`."""
    active: bool
    """Whether the model is in training mode, has such modules, and its losses differ between the seeds."""


@dataclass(frozen=True)
class Trained:
    """What one training did."""

    seconds: float
    examples: int
    tokens: int
    """Without padding."""
    steps: int
    score: float
    dropout: Dropout


class ObservedLoss:
    """A training's loss function that observes the model's dropout in its first call.

    It is put into the real training, so it sees the mode that the side trains in. Its observation is not timed:
    `seconds` is what it took.
    """

    def __init__(self, model: Any, loss: Callable[..., Any], mean: Callable[..., float]) -> None:
        """`mean`: the mean loss as a number, from the value that `loss` returns and its positional arguments."""
        self.model, self.loss, self.mean = model, loss, mean
        self.dropout: Dropout | None = None
        self.seconds = 0.0

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        if self.dropout is None:
            start = time.perf_counter()
            self.dropout = observe_dropout(self.model, lambda: self.mean(self.loss(*arguments, **options), *arguments))
            self.seconds = time.perf_counter() - start
        return self.loss(*arguments, **options)


def observe_dropout(model: Any, loss: Callable[[], float]) -> Dropout:
    """Return the dropout of a model as it is, in mode and rates, and the losses that `loss` computes with two seeds.

    The random generators are left as they were.
    """
    import torch

    rates = [m.p for m in model.modules() if isinstance(m, torch.nn.Dropout) and m.training and m.p > 0]
    losses = []
    for seed in DROPOUT_SEEDS:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            losses.append(loss())
    torch.clear_autocast_cache()  # autocast's copies of the weights belong to the graphs of these losses
    active = bool(model.training and rates and len(set(losses)) > 1)
    return Dropout(len(rates), sorted(set(rates)), losses, active)


def ours(job: Job, train: Path, dev: Path, precision: str) -> Trained:
    """Train with this package: the recipe as it ships, with the job's epochs, batch size and learning rate."""
    from app.config import load
    from app.finetune.session import prepare

    settings = [f"data.train={train}", f"data.dev={dev}", f"data.test={dev}", f"trainer.max_epochs={job.epochs}"]
    settings += [f"optimizer.lr={job.lr}", f"trainer.batch_size={job.batch_size}", f"trainer.precision={precision}"]
    session = prepare(load(job.recipe, settings))
    task: Any = session.task
    observed = task.loss = ObservedLoss(
        session.model, task.loss, lambda loss, _, batch: float(loss) / task.weight(batch)
    )
    start = time.perf_counter()
    loop = session.fit()
    seconds = time.perf_counter() - start - observed.seconds
    assert observed.dropout is not None
    score = session.evaluate("dev").scores.values[job.score]
    lengths = session.splits.train.lengths
    return Trained(
        seconds=seconds,
        examples=job.epochs * len(lengths),
        tokens=job.epochs * int(lengths.sum()),
        steps=loop.position.step,
        score=score,
        dropout=observed.dropout,
    )


def theirs(task: str, job: Job, train: Path, dev: Path, best: bool) -> Trained:
    """Train with transformers' Trainer and its defaults; if `best`, with length grouping and bf16."""
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
    trainer: Any = Trainer(model=model, args=arguments, data_collator=collator, train_dataset=train_set)
    observed = trainer.compute_loss = ObservedLoss(model, trainer.compute_loss, lambda loss, *_: float(loss))
    start = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - start - observed.seconds
    assert observed.dropout is not None
    logits = trainer.predict(dev_set)
    tokens = sum(len(row["input_ids"]) for row in train_set)
    return Trained(
        seconds=seconds,
        examples=job.epochs * len(train_set),
        tokens=job.epochs * tokens,
        steps=trainer.state.global_step,
        score=float(score(np.argmax(logits.predictions, axis=-1), logits.label_ids)),
        dropout=observed.dropout,
    )


Rows = list[dict[str, Any]]
Parts = tuple[Any, Any, Rows, Rows, Callable[[Any, Any], float]]


def texts(folder: Path, train: Path, dev: Path) -> Parts:
    """Return model, collator, training rows, dev rows and accuracy, for sentences with a class."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding

    tokenizer = AutoTokenizer.from_pretrained(folder)

    def rows(path: Path) -> Rows:
        pairs = [line.rsplit("\t", 1) for line in path.read_text(encoding="utf-8").splitlines() if line]
        encoded = tokenizer([text for text, _ in pairs], truncation=True, max_length=MAX_LENGTH)
        return [
            {"input_ids": ids, "attention_mask": mask, "label": int(label)}
            for ids, mask, (_, label) in zip(encoded["input_ids"], encoded["attention_mask"], pairs)
        ]

    def accuracy(predicted: Any, truth: Any) -> float:
        return float((predicted == truth).mean())

    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    return model, DataCollatorWithPadding(tokenizer), rows(train), rows(dev), accuracy


def tagged(folder: Path, train: Path, dev: Path) -> Parts:
    """Return model, collator, training rows, dev rows and strict entity F1, for sentences with a tag for each word.

    The tag is on the word's first token.
    """
    from seqeval.metrics import f1_score
    from seqeval.scheme import IOB2
    from transformers import AutoModelForTokenClassification, AutoTokenizer, DataCollatorForTokenClassification

    from app.data.tags.read import read_tagged

    tokenizer = AutoTokenizer.from_pretrained(folder)
    names = sorted({tag for sentence in read_tagged(str(train)) for tag in sentence.tags})
    tag_ids = {name: number for number, name in enumerate(names)}

    def rows(path: Path) -> Rows:
        sentences = read_tagged(str(path))
        encoded = tokenizer(
            [sentence.tokens for sentence in sentences],
            is_split_into_words=True,
            truncation=True,
            max_length=MAX_LENGTH,
        )
        examples = []
        for number, sentence in enumerate(sentences):
            words = encoded.word_ids(number)
            first = [word is not None and word != before for before, word in zip([None, *words], words)]
            labels = [tag_ids[sentence.tags[word]] if opens else -100 for opens, word in zip(first, words)]
            ids, mask = encoded["input_ids"][number], encoded["attention_mask"][number]
            examples.append({"input_ids": ids, "attention_mask": mask, "labels": labels})
        return examples

    def entity_f1(predicted: Any, truth: Any) -> float:
        pairs = [[(names[p], names[t]) for p, t in zip(a, b) if t != -100] for a, b in zip(predicted, truth)]
        answers, right = [[p for p, _ in row] for row in pairs], [[t for _, t in row] for row in pairs]
        return float(f1_score(right, answers, mode="strict", scheme=IOB2))

    model = AutoModelForTokenClassification.from_pretrained(folder, num_labels=len(names))
    return model, DataCollatorForTokenClassification(tokenizer), rows(train), rows(dev), entity_f1


def main(argv: Sequence[str] | None = None) -> None:
    """Train once and print the result as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sides", description=__doc__)
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("--task", choices=tuple(JOBS), required=True)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--dev", type=Path, required=True)
    options = parser.parse_args(argv)
    job = JOBS[options.task]
    with stdout_to_stderr():
        if options.side.startswith("ours"):
            precision = "fp32" if options.side == "ours-fp32" else "auto"
            trained = ours(job, options.train, options.dev, precision)
        else:
            trained = theirs(options.task, job, options.train, options.dev, best=options.side == "trainer-best")
    print(json.dumps(asdict(trained)))


if __name__ == "__main__":
    main()
