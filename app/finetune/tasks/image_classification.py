"""One class for each image, by a small convolutional network."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from app import fileio
from app.data.batch import Batch, DataSet
from app.data.images.dataset import Images
from app.data.images.folder import read_unlabelled
from app.data.images.sources import read_labelled_splits
from app.errors import DataError, Problem
from app.finetune.tasks.base import Forward, Prediction, Scores, Split, Task, mean_loss
from app.finetune.tasks.text_classification import accuracy, averages, confusion, per_class, tables_of
from app.models.cnn import CNN, CNNConfig, flops_per_image
from app.schema import ImageClassification

DEV, TEST = 0.1, 0.2  # shares of train that are kept where the recipe names no images for dev or test


class ImageClassificationTask(Task[ImageClassification]):
    """Images in, classes out; the best checkpoint has the lowest loss on dev, where many are all right."""

    unit = "images"

    def __init__(self, recipe: ImageClassification) -> None:
        super().__init__(recipe)
        self.classes: tuple[str, ...] = ()
        self.parts: dict[Split, Images] = {}

    def data(self, split: Split) -> Images:
        """The images of a split; those that the recipe does not name are a part of train."""
        self.parts = self.parts or self._divided()
        return self.parts[split]

    def model(self) -> nn.Module:
        settings, data = self.recipe.model, self.recipe.data
        return CNN(
            CNNConfig(data.channels, data.side, len(self.classes), settings.width, settings.hidden, settings.dropout)
        )

    def loss(self, forward: Forward, batch: Batch) -> Tensor:
        logits: Tensor = forward(**batch.inputs)
        assert batch.labels is not None
        return F.cross_entropy(logits.float(), batch.labels, reduction="sum")

    def predict(self, forward: Forward, batch: Batch) -> list[Prediction]:
        logits = forward(**batch.inputs).float()
        losses = torch.zeros(len(batch))
        if batch.labels is not None:
            losses = F.cross_entropy(logits, batch.labels, reduction="none")
        rows = zip(batch.index.tolist(), losses.tolist(), logits.argmax(1).tolist(), logits.softmax(1).tolist())
        return [Prediction(index, loss, 1.0, answer, probabilities) for index, loss, answer, probabilities in rows]

    def score(self, predictions: Sequence[Prediction], data: DataSet) -> Scores:
        assert isinstance(data, Images) and data.labels is not None
        truth = data.labels[[j.index for j in predictions]]
        counts = confusion(truth, np.array([j.answer for j in predictions]), len(self.classes))
        table = per_class(counts)
        macro_f1 = float(averages(counts)["macro"][2])
        values = {"loss": mean_loss(predictions), "accuracy": accuracy(counts), "macro_f1": macro_f1}
        return Scores(values, tables_of(counts, table, self.classes))

    def save(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, CNN)
        save_file(
            {name: value.contiguous() for name, value in model.state_dict().items()}, folder / "model.safetensors"
        )
        fileio.write_json(folder / "config.json", {**asdict(model.config), "names": self.classes})

    def load(self, folder: Path) -> nn.Module:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.classes = tuple(config.pop("names"))
        model = CNN(CNNConfig(**config))
        model.load_state_dict(load_file(folder / "model.safetensors"))
        return model

    def predict_dataset(self, name: str | None) -> DataSet:
        if name is None:
            raise DataError(Problem("images do not come from stdin", "name an image, or a folder of them"))
        return read_unlabelled(name, self.recipe.data.side, self.recipe.data.channels, self.classes)

    def json_lines(self, predictions: Sequence[Prediction], data: DataSet) -> Iterator[dict[str, Any]]:
        assert isinstance(data, Images)
        for j in predictions:
            probabilities = {name: round(p, 6) for name, p in zip(self.classes, j.detail)}
            yield {"file": data.names[j.index], "label": self.classes[j.answer], "probabilities": probabilities}

    def flops(self, model: nn.Module, batch: Batch) -> float:
        assert isinstance(model, CNN)
        return float(flops_per_image(model.config) * len(batch))

    def _divided(self) -> dict[Split, Images]:
        data, seed = self.recipe.data, self.recipe.seed
        named = {"train": data.train, "dev": data.dev, "test": data.test}
        read = read_labelled_splits({split: name for split, name in named.items() if name}, data.side, data.channels)
        train = read.pop("train")
        self.classes = self.classes or train.classes
        for name, images in {"train": train, **read}.items():
            if images.classes != self.classes:
                what = f"the classes of {name} are {', '.join(images.classes)}"
                raise DataError(Problem(what, f"they should be those of the model: {', '.join(self.classes)}"))
        shares = {split: share for split, share in (("dev", DEV), ("test", TEST)) if split not in read}
        *kept, rest = train.stratified_split(list(shares.values()), seed)
        parts: dict[Any, Images] = {**read, **dict(zip(shares, kept)), "train": rest}
        for split, images in parts.items():
            if not len(images):
                raise DataError(Problem(f"no images are left for {split}", f"give more, or name data.{split}"))
        return parts
