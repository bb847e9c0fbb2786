"""The task text-classification: one class for each text, with any sequence classifier of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from app.data.batch import Batch, DataSet
from app.data.files import Columns, read_texts
from app.data.text.encode import EncodedTexts, class_names
from app.errors import DataError
from app.finetune.tasks.base import Forward, Prediction, Scores, Split
from app.finetune.tasks.classification import predict_classes, rounded_probabilities, score_classes
from app.finetune.tasks.encoder import TextTask
from app.models import pretrained
from app.schema import TextClassification


class TextClassificationTask(TextTask[TextClassification]):
    """Texts in, classes out; the best checkpoint has the highest accuracy on dev."""

    monitor = "accuracy"
    higher_is_better = True
    no_answer = {"label": None, "probabilities": None}

    def __init__(self, recipe: TextClassification) -> None:
        super().__init__(recipe)
        self.classes: list[str] = []

    def data(self, split: Split) -> EncodedTexts | None:
        """Return a file as token ids; the classes are those of the training file."""
        if (name := self.file_of(split)) is None:
            return None
        data = self.recipe.data
        columns = Columns(data.text, data.label)
        try:
            self.classes = self.classes or class_names(data.train, columns)
        except DataError:
            read_texts(name, columns)  # report this file's errors too when the training file is bad
            raise
        return self.encoded(name, self.classes)

    def model(self, train: DataSet) -> nn.Module:
        assert isinstance(train, EncodedTexts)
        return self.ready(pretrained.build_sequence_classifier(self.recipe.model, self.classes), train.ids)

    def loss(self, forward: Forward, batch: Batch) -> Tensor:
        logits: Tensor = forward(**batch.inputs).logits
        assert batch.labels is not None
        return F.cross_entropy(logits.float(), batch.labels, reduction="sum")

    def predict(self, forward: Forward, batch: Batch) -> list[Prediction]:
        return predict_classes(forward(**batch.inputs).logits.float(), batch)

    def score(self, predictions: Sequence[Prediction], data: DataSet) -> Scores:
        assert isinstance(data, EncodedTexts) and data.labels is not None
        return score_classes(predictions, np.asarray(data.labels), self.classes)

    def load(self, folder: Path) -> nn.Module:
        model = pretrained.load_classifier(folder)
        config: Any = model.config
        self.classes = [config.id2label[i] for i in range(config.num_labels)]
        self.begin(pretrained.load_tokenizer(folder), config)
        return self.checked(model)

    def to_json(self, prediction: Prediction) -> dict[str, Any]:
        probabilities = rounded_probabilities(prediction, self.classes)
        return {"label": self.classes[prediction.answer], "probabilities": probabilities}
