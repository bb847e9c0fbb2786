"""One number for each text, by any transformers sequence classifier with a single output.

Any recipe of text-classification becomes one with `task=text-regression`. The model learns numbers of mean 0 and
deviation 1, whatever the scale of the data's, since a head that starts near 0 would need thousands of steps to reach
70; the scale is put into the head's last layer when the model is saved, so that what is loaded answers in the data's
own units.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor, nn

from app.data.batch import Batch, DataSet
from app.data.text.encode import EncodedTexts
from app.errors import DataError, Problem
from app.finetune.tasks.base import Forward, Prediction, Scores, Split, mean_loss
from app.finetune.tasks.encoder import TextTask
from app.models import pretrained
from app.schema import TextRegression

Numbers = np.ndarray[Any, np.dtype[Any]]


class TextRegressionTask(TextTask[TextRegression]):
    """Texts in, numbers out; the best checkpoint has the lowest root mean squared error on dev."""

    monitor = "rmse"
    no_answer = {"number": None}

    def __init__(self, recipe: TextRegression) -> None:
        super().__init__(recipe)
        self.shift, self.scale = 0.0, 1.0
        """An answer is the model's output times `scale` plus `shift`; for a model that was saved these do nothing."""
        self.deviation = 1.0
        """Of the training labels: the loss is in units of its square."""

    def data(self, split: Split) -> EncodedTexts | None:
        """A file as token ids and numbers; the scale is that of the training file."""
        name = self.file_of(split)
        return self.encoded(name, split, classes=None) if name else None

    def model(self) -> nn.Module:
        """A new model; from here on the task answers on the scale of the training labels."""
        train = self.data("train")
        assert train is not None and train.labels is not None
        self.shift, self.scale = float(train.labels.mean()), float(train.labels.std())
        self.deviation = self.scale
        if self.scale == 0:
            what = f"every row has the label {self.shift:g}"
            raise DataError(Problem(what, "training needs labels that differ", self.recipe.data.train))
        model, kept = pretrained.build_text_regressor(self.recipe.model)
        head: Any = last_layer(model)
        if head.bias is None:  # GPT-2's: nothing there could hold a shift
            self.shift = 0.0
        if kept:  # it answers on the scale of the labels that it learned: `finish` the other way round
            with torch.no_grad():
                head.weight.div_(self.scale)
                if head.bias is not None:
                    head.bias.sub_(self.shift).div_(self.scale)
        return self.ready(model)

    def loss(self, forward: Forward, batch: Batch) -> Tensor:
        assert batch.labels is not None
        total: Tensor = self._off(self._answers(forward, batch), batch.labels).square().sum()
        return total

    def predict(self, forward: Forward, batch: Batch) -> list[Prediction]:
        answers = self._answers(forward, batch)
        off = torch.zeros_like(answers) if batch.labels is None else self._off(answers, batch.labels)
        rows = zip(batch.index.tolist(), off.square().tolist(), answers.tolist())
        return [Prediction(index, loss, 1.0, answer) for index, loss, answer in rows]

    def _answers(self, forward: Forward, batch: Batch) -> Tensor:
        """(B,) in the units of the labels."""
        answers: Tensor = forward(**batch.inputs).logits[:, 0].float() * self.scale + self.shift
        return answers

    def _off(self, answers: Tensor, labels: Tensor) -> Tensor:
        """(B,) errors in units of the training labels' deviation."""
        off: Tensor = (answers - labels) / self.deviation
        return off

    def score(self, predictions: Sequence[Prediction], data: DataSet) -> Scores:
        assert isinstance(data, EncodedTexts) and data.labels is not None
        truth = np.asarray(data.labels, dtype=np.float64)[[j.index for j in predictions]]
        answers = np.array([j.answer for j in predictions])
        values = {"loss": mean_loss(predictions), **errors(truth, answers), **correlations(truth, answers)}
        return Scores(values, table_of(values, errors(truth, np.full_like(truth, truth.mean()))))

    def finish(self, model: Any) -> None:
        head = last_layer(model)
        with torch.no_grad():
            head.weight.mul_(self.scale)
            if head.bias is not None:
                head.bias.mul_(self.scale).add_(self.shift)
        self.shift, self.scale = 0.0, 1.0
        model.config.label_deviation = self.deviation

    def load(self, folder: Path) -> nn.Module:
        model = pretrained.load_classifier(folder)
        config: Any = model.config
        self.begin(pretrained.load_tokenizer(folder), config)
        self.deviation = config.label_deviation
        return self.checked(model)

    def to_json(self, prediction: Prediction) -> dict[str, Any]:
        return {"number": prediction.answer}


def last_layer(model: nn.Module) -> nn.Linear:
    """The linear map to a model's single output."""
    return [module for module in model.modules() if isinstance(module, nn.Linear) and module.out_features == 1][-1]


def errors(truth: Numbers, answers: Numbers) -> dict[str, float]:
    """Mean absolute and root mean squared error, in the units of the labels."""
    off = answers - truth
    return {"mae": float(np.abs(off).mean()), "rmse": float(np.sqrt(np.square(off).mean()))}


def correlations(truth: Numbers, answers: Numbers) -> dict[str, float]:
    """Pearson's, and Spearman's, which is the same of the ranks, ties sharing theirs; 0 where one side is constant."""
    return {"pearson": _pearson(truth, answers), "spearman": _pearson(rankdata(truth), rankdata(answers))}


def _pearson(first: Numbers, second: Numbers) -> float:
    first, second = first - first.mean(), second - second.mean()
    scale = float(np.sqrt(np.square(first).sum() * np.square(second).sum()))
    return float((first * second).sum()) / scale if scale > 0 else 0.0


def table_of(values: dict[str, float], constant: dict[str, float]) -> str:
    """The figures in Markdown, beside those of the best constant answer."""
    names = {
        "mae": "mean absolute error",
        "rmse": "root mean squared error",
        "pearson": "Pearson",
        "spearman": "Spearman",
    }
    rows = [f"| {title} | {values[name]:.4f} | {constant.get(name, 0.0):.4f} |" for name, title in names.items()]
    return "\n".join(["| | model | always the mean |", "|---|---|---|", *rows])
