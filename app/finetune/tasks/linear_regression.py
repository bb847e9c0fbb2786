"""hello-linear: fit a line by gradient descent, then check it against the answer that algebra gives.

The least-squares line has a closed form, w = (X'X)^-1 X'y, with a column of ones in X for the bias. Gradient descent on
the mean squared error walks to the same place, which makes this the shortest proof that the whole engine works.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from app.data.batch import Batch, DataSet
from app.data.generated import Points, linear_law, points_on
from app.finetune.tasks.base import Forward, Prediction, Scores, Split, Task, mean_loss
from app.models.linear import LinearModel
from app.models.weights import load_weights
from app.schema import LinearRegression, LogisticRegression

PointsRecipe = TypeVar("PointsRecipe", LinearRegression, LogisticRegression)

AGREES = 1e-3  # largest difference of a coefficient from the closed form that still counts as having arrived


LESSON = """\
What happened, step by step:

1. The data: points, each with a target that was made as a weighted sum of its coordinates, a bias and some noise.
2. The model: a weighted sum of the coordinates plus a bias. It starts at zero and knows nothing.
3. The loss: the mean of the squared differences between the model's answers and the targets.
4. Each step: the gradient says how the loss changes with each weight; every weight moves a little against it.
5. The check: for this loss the best weights have a formula. Here they are beside those that the steps arrived at."""


class LinearTask(Task[PointsRecipe]):
    """A task whose model is a linear map of a point's coordinates."""

    unit = "points"

    def model(self) -> nn.Module:
        return LinearModel(self.recipe.data.features)

    def save(self, model: nn.Module, folder: Path) -> None:
        weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        save_file(weights, str(folder / "model.safetensors"))

    def load(self, folder: Path) -> nn.Module:
        model = self.model()
        load_weights(model, folder)
        return model


class LinearRegressionTask(LinearTask[LinearRegression]):
    """Least squares on generated points."""

    def data(self, split: Split) -> Points:
        """Three draws from one law: train, dev, test."""
        data, seed = self.recipe.data, self.recipe.seed
        draw = {"train": 1, "dev": 2, "test": 3}[split]
        return points_on(linear_law(data.features, seed), data.examples, data.noise, seed + draw)

    def loss(self, forward: Forward, batch: Batch) -> Tensor:
        assert batch.labels is not None
        total: Tensor = (forward(**batch.inputs) - batch.labels).square().sum()
        return total

    def predict(self, forward: Forward, batch: Batch) -> list[Prediction]:
        answers: Tensor = forward(**batch.inputs)
        losses = torch.zeros_like(answers) if batch.labels is None else (answers - batch.labels).square()
        rows = zip(batch.index.tolist(), losses[:, 0].tolist(), answers[:, 0].tolist())
        return [Prediction(index, loss, 1.0, answer) for index, loss, answer in rows]

    def score(self, predictions: Sequence[Prediction], data: DataSet) -> Scores:
        return Scores({"loss": mean_loss(predictions)})

    def verify(self, model: nn.Module) -> Scores:
        """Coefficients found, beside those of the closed form."""
        assert isinstance(model, LinearModel)
        points = self.data("train")
        exact = closed_form(points.features, points.targets)
        found = torch.cat([model.map.weight[0], model.map.bias]).detach().double().cpu()
        gap = float((found - exact).abs().max())
        names = [f"w{i + 1}" for i in range(len(exact) - 1)] + ["bias"]
        rows = [f"| {name} | {a:.6f} | {b:.6f} |" for name, a, b in zip(names, found.tolist(), exact.tolist())]
        verdict = (
            "they agree"
            if gap <= AGREES
            else "not there yet: give it more steps (trainer.max_epochs) or a larger optimizer.lr"
        )
        table = [
            "| coefficient | gradient descent | closed form |",
            "|---|---|---|",
            *rows,
            "",
            f"Largest difference {gap:.2g}: {verdict}.",
        ]
        return Scores({"closed_form_gap": gap}, "\n".join([LESSON, "", *table]))

    def to_json(self, prediction: Prediction) -> dict[str, Any]:
        return {"target": prediction.answer}


def closed_form(features: Tensor, targets: Tensor) -> Tensor:
    """(F + 1,) least-squares weights and bias, in float64. Features (N, F), targets (N, 1)."""
    columns = torch.cat([features, torch.ones(len(features), 1)], dim=1).double()
    solution: Tensor = torch.linalg.lstsq(columns, targets.double()).solution[:, 0]
    return solution
