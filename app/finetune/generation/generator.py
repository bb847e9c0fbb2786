"""A trained language model at work: a prompt in, text out, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from app.data.text.vocabulary import Vocabulary
from app.errors import ConfigError, Problem, RunError
from app.finetune.generation.sampling import Sampling, continuations
from app.finetune.tasks import build_task
from app.finetune.tasks.base import Task
from app.finetune.tasks.language import LanguageTask
from app.runs.folder import Run

UNFINISHED = "\ufffd"  # what decoding gives for the first bytes of a character whose last are still to come


class Writer:
    """A model and its tokenizer."""

    def __init__(self, task: LanguageTask[Any], model: nn.Module) -> None:
        self.task, self.model = task, model

    def pieces(self, prompt: str, sampling: Sampling, samples: int = 1) -> Iterator[list[str]]:
        """What is added to each of `samples` texts, as soon as it is readable; the prompt is not repeated.

        An empty prompt begins a new text. A text ends at the model's end token. Raises DataError for characters that
        the model does not know.
        """
        vocabulary = self.task.vocabulary
        start = vocabulary.encode([prompt])[0].tolist() if prompt else [_first(vocabulary)]
        rows = [list(start) for _ in range(samples)]
        shown = [vocabulary.decode(start)] * samples
        reader = self.task.reader(self.model)
        for drawn in continuations(reader, torch.tensor(rows), sampling):
            for row, token in zip(rows, drawn.tolist()):
                if token != sampling.stop:
                    row.append(token)
            texts = [vocabulary.decode(row) for row in rows]
            whole = [text.rstrip(UNFINISHED) for text in texts]
            yield [text[len(old) :] for text, old in zip(whole, shown)]
            shown = [max(old, text, key=len) for old, text in zip(shown, whole)]
        yield [text[len(old) :] for text, old in zip((vocabulary.decode(row) for row in rows), shown)]

    def texts(self, prompt: str, sampling: Sampling, samples: int = 1) -> list[str]:
        """The whole continuations."""
        return ["".join(parts) for parts in zip(*self.pieces(prompt, sampling, samples))]


def writer_of(run: Run) -> Writer:
    """The language model of a finished run, on the device of its recipe. Raises RunError, ConfigError."""
    recipe = run.recipe()
    task: Task[Any] = build_task(recipe)
    if not isinstance(task, LanguageTask):
        what = f"{run.path} is a {recipe.task}, which writes nothing"
        raise ConfigError(Problem(what, "name a run of gpt-char, gpt2 or causal-lm"))
    if not run.model.is_dir():
        raise RunError(Problem("the run has no trained model yet", "finish its training first", str(run.path)))
    on_gpu = recipe.trainer.accelerator != "cpu" and torch.cuda.is_available()
    return Writer(task, task.load(run.model).to("cuda" if on_gpu else "cpu"))


def _first(vocabulary: Vocabulary) -> int:
    """What a text begins after: the end of the one before, else a line end, else anything."""
    if vocabulary.end is not None:
        return vocabulary.end
    if vocabulary.alphabet is not None and "\n" not in vocabulary.alphabet:
        return 0
    return int(vocabulary.encode(["\n"])[0][-1])
