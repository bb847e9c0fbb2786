"""The text generator: a trained language model that continues prompts, piece by piece."""

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

UNFINISHED = "\ufffd"  # U+FFFD: how the first bytes of a character decode before its last bytes are there


class TextGenerator:
    """A language model with its tokenizer."""

    def __init__(self, task: LanguageTask[Any], model: nn.Module) -> None:
        self.task, self.model = task, model

    def pieces(self, prompt: str, sampling: Sampling, samples: int = 1) -> Iterator[list[str]]:
        """Yield what is added to each of `samples` texts, as soon as it can be decoded, without the prompt.

        An empty prompt begins a new text. A text ends at the token `sampling.stop`. Raises DataError for characters
        that the model does not know.
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
        """Return the whole continuations, without the prompt."""
        return ["".join(parts) for parts in zip(*self.pieces(prompt, sampling, samples))]


def load_generator(run: Run) -> TextGenerator:
    """Return the language model of a finished run, on the device of its recipe.

    Raises ConfigError if the run is no language model's, RunError if it has no trained model yet.
    """
    recipe = run.recipe()
    task: Task[Any] = build_task(recipe)
    if not isinstance(task, LanguageTask):
        what = f"{run.path} is a {recipe.task}, which generates no text"
        raise ConfigError(Problem(what, "name a run of gpt-char, gpt2 or causal-lm"))
    if not run.model.is_dir():
        raise RunError(Problem("the run has no trained model yet", "finish its training first", str(run.path)))
    on_gpu = recipe.trainer.accelerator != "cpu" and torch.cuda.is_available()
    return TextGenerator(task, task.load(run.model).to("cuda" if on_gpu else "cpu"))


def _first(vocabulary: Vocabulary) -> int:
    """Return the token that a text begins after: the end token, else a line end, else any token."""
    if vocabulary.end is not None:
        return vocabulary.end
    if vocabulary.alphabet is not None and "\n" not in vocabulary.alphabet:
        return 0
    return int(vocabulary.encode(["\n"])[0][-1])
