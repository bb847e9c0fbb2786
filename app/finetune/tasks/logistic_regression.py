"""The task of hello-logistic: separate two clouds of points, then check the boundary against the best possible one.

With equal clouds of spread 1 around m and -m, Bayes' rule gives the log-odds of the first as 2 m x: a linear model with
weights 2 m and no bias. No rule errs less often: it errs in Phi(-|m|) of all cases (Phi: the cumulative normal
distribution). Training by log-loss finds the same weights, up to the randomness of the training points.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.data.batch import Batch, DataSet
from app.data.generated import Points, linear_law, two_clusters
from app.finetune.tasks.base import Forward, Prediction, Scores, Split, mean_loss
from app.finetune.tasks.linear_regression import LinearTask
from app.models.linear import LinearModel
from app.schema import LogisticRegression

AGREES = 0.01  # largest excess over the error rate of Bayes' rule that counts as converged
NEW_POINTS = 100_000  # enough to know an error rate to about 0.001

LESSON = """\
What happened, step by step:

1. The data: two clouds of points, class 1 around a middle and class 0 around its mirror image. They overlap.
2. The model: a weighted sum of a point's coordinates plus a bias. The larger it is, the surer the model is of class 1;
   the logistic function turns it into a probability.
3. The loss: the logarithm of the probability that the model gave to the class that was true, with its sign turned.
   Being sure and wrong costs most.
4. Each step: the gradient says how the loss changes with each weight; every weight moves a little against it.
5. The check: for clouds like these Bayes' rule is known, and no rule errs less often. Here it is next to the model."""


class LogisticRegressionTask(LinearTask[LogisticRegression]):
    """Two classes by log-loss on generated points."""

    @property
    def middle(self) -> Tensor:
        """(F,) center of class 1, at distance 1 from the origin."""
        weight = linear_law(self.recipe.data.features, self.recipe.seed).weight
        middle: Tensor = weight / weight.norm()
        return middle

    def data(self, split: Split) -> Points:
        """Return one of three draws from the same clouds: train, dev, test."""
        draw = {"train": 1, "dev": 2, "test": 3}[split]
        return two_clusters(self.middle, self.recipe.data.examples, self.recipe.seed + draw)

    def loss(self, forward: Forward, batch: Batch) -> Tensor:
        assert batch.labels is not None
        return F.binary_cross_entropy_with_logits(forward(**batch.inputs), batch.labels, reduction="sum")

    def predict(self, forward: Forward, batch: Batch) -> list[Prediction]:
        logits: Tensor = forward(**batch.inputs)
        assert batch.labels is not None
        losses = F.binary_cross_entropy_with_logits(logits, batch.labels, reduction="none")
        right = logits.gt(0).eq(batch.labels.gt(0.5))
        rows = zip(batch.index.tolist(), losses[:, 0].tolist(), logits.sigmoid()[:, 0].tolist(), right[:, 0].tolist())
        return [Prediction(index, loss, 1.0, probability, hit) for index, loss, probability, hit in rows]

    def score(self, predictions: Sequence[Prediction], data: DataSet) -> Scores:
        return Scores(
            {"loss": mean_loss(predictions), "accuracy": sum(bool(p.detail) for p in predictions) / len(predictions)}
        )

    def verify(self, model: nn.Module) -> Scores:
        """Compare the weights and the error rate on new points with those of Bayes' rule."""
        assert isinstance(model, LinearModel)
        new = two_clusters(self.middle, NEW_POINTS, self.recipe.seed + 4)
        with torch.no_grad():
            wrong = float(model(new.features).gt(0).ne(new.targets.gt(0.5)).float().mean())
        best = float(torch.distributions.Normal(0.0, 1.0).cdf(-self.middle.norm()))  # type: ignore[no-untyped-call]
        found = [*model.map.weight[0].tolist(), *model.map.bias.tolist()]
        bayes = [*self.middle.mul(2).tolist(), 0.0]
        names = [f"w{i + 1}" for i in range(len(found) - 1)] + ["bias"]
        rows = [f"| {name} | {a:.4f} | {b:.4f} |" for name, a, b in zip(names, found, bayes)]
        verdict = "the boundary is Bayes'" if wrong - best <= AGREES else "not there yet: give it more epochs or points"
        table = ["| weight | learned | Bayes' rule |", "|---|---|---|", *rows]
        last = f"Wrong on new points: {wrong:.4f}; the least possible: {best:.4f}: {verdict}."
        return Scores({"error_rate": wrong, "bayes_error_rate": best}, "\n".join([LESSON, "", *table, "", last]))

    def to_json(self, prediction: Prediction) -> dict[str, Any]:
        return {"probability": prediction.answer}
