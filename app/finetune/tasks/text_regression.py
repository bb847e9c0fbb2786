"""The task text-regression: one number for each text, with any sequence classifier of transformers.

Any recipe of text-classification becomes one with `task=text-regression`. The model learns numbers of mean 0 and
standard deviation 1, whatever the scale of the labels: a head that starts near 0 would need thousands of steps to
reach 70. Saving folds the scale into the head's last layer, so a loaded model predicts in the units of the labels.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import pearsonr, spearmanr
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
        """A prediction is the model's output times `scale` plus `shift`; in a saved model they are folded in."""
        self.deviation = 1.0
        """Standard deviation of the training labels; the loss is in units of its square."""

    def data(self, split: Split) -> EncodedTexts | None:
        """Return a file as token ids and numbers."""
        name = self.file_of(split)
        return self.encoded(name, classes=None) if name else None

    def model(self, train: DataSet) -> nn.Module:
        """Return a new model; from now on the task predicts on the scale of the training labels."""
        assert isinstance(train, EncodedTexts) and train.labels is not None
        self.shift, self.scale = float(train.labels.mean()), float(train.labels.std())
        self.deviation = self.scale
        if self.scale == 0:
            what = f"every row has the label {self.shift:g}"
            raise DataError(Problem(what, "training needs labels that differ", self.recipe.data.train))
        model, kept = pretrained.build_text_regressor(self.recipe.model)
        head: Any = last_layer(model)
        if head.bias is None:  # GPT-2's head has none, so nothing could hold a shift
            self.shift = 0.0
        if kept:  # its outputs are on the scale of the labels that it learned: undo what `finish` did
            with torch.no_grad():
                head.weight.div_(self.scale)
                if head.bias is not None:
                    head.bias.sub_(self.shift).div_(self.scale)
        return self.ready(model, train.ids)

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
        """Return predictions (B,) in the units of the labels."""
        answers: Tensor = forward(**batch.inputs).logits[:, 0].float() * self.scale + self.shift
        return answers

    def _off(self, answers: Tensor, labels: Tensor) -> Tensor:
        """Return errors (B,) in standard deviations of the training labels."""
        off: Tensor = (answers - labels) / self.deviation
        return off

    def score(self, predictions: Sequence[Prediction], data: DataSet) -> Scores:
        assert isinstance(data, EncodedTexts) and data.labels is not None
        truth = np.asarray(data.labels, dtype=np.float64)[[p.index for p in predictions]]
        answers = np.array([p.answer for p in predictions])
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
    """Return the linear map to a model's single output."""
    return [module for module in model.modules() if isinstance(module, nn.Linear) and module.out_features == 1][-1]


def errors(truth: Numbers, answers: Numbers) -> dict[str, float]:
    """Return the mean absolute and the root mean squared error, in the units of the labels."""
    off = answers - truth
    return {"mae": float(np.abs(off).mean()), "rmse": float(np.sqrt(np.square(off).mean()))}


def correlations(truth: Numbers, answers: Numbers) -> dict[str, float]:
    """Return Pearson's and Spearman's correlation; both are 0 if one side is constant or not finite."""
    if not all(np.isfinite(side).all() and np.ptp(side) > 0 for side in (truth, answers)):
        return {"pearson": 0.0, "spearman": 0.0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy warns if one side is nearly constant
        return {"pearson": float(pearsonr(truth, answers)[0]), "spearman": float(spearmanr(truth, answers)[0])}


def table_of(values: dict[str, float], constant: dict[str, float]) -> str:
    """Return the scores in Markdown, next to those of the best constant prediction."""
    names = {
        "mae": "mean absolute error",
        "rmse": "root mean squared error",
        "pearson": "Pearson",
        "spearman": "Spearman",
    }
    rows = [f"| {title} | {values[name]:.4f} | {constant.get(name, 0.0):.4f} |" for name, title in names.items()]
    return "\n".join(["| | model | always the mean |", "|---|---|---|", *rows])
