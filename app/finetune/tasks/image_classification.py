"""The task image-classification: one class for each image, with a small convolutional network."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from app import fileio
from app.data.batch import Batch, DataSet
from app.data.images.dataset import Images
from app.data.images.folder import read_unlabelled
from app.data.images.sources import read_labelled_splits
from app.errors import DataError, Problem
from app.finetune.tasks.base import Forward, Prediction, Scores, Split, Task
from app.finetune.tasks.classification import predict_classes, rounded_probabilities, score_classes
from app.models.cnn import CNN, CNNConfig, flops_per_image
from app.models.weights import load_weights
from app.schema import ImageClassification

DEV, TEST = 0.1, 0.2  # shares of train that are held out if the recipe names no dev or test images


class ImageClassificationTask(Task[ImageClassification]):
    """Images in, classes out; the best checkpoint has the lowest loss on dev, since several may reach accuracy 1."""

    unit = "images"

    def __init__(self, recipe: ImageClassification) -> None:
        super().__init__(recipe)
        self.classes: tuple[str, ...] = ()
        self.parts: dict[Split, Images] = {}

    def data(self, split: Split) -> Images:
        """Return the images of a split. One that the recipe does not name is held out of train."""
        self.parts = self.parts or self._divided()
        return self.parts[split]

    def model(self, train: DataSet) -> nn.Module:
        settings, data = self.recipe.model, self.recipe.data
        return CNN(
            CNNConfig(data.channels, data.side, len(self.classes), settings.width, settings.hidden, settings.dropout)
        )

    def loss(self, forward: Forward, batch: Batch) -> Tensor:
        logits: Tensor = forward(**batch.inputs)
        assert batch.labels is not None
        return F.cross_entropy(logits.float(), batch.labels, reduction="sum")

    def predict(self, forward: Forward, batch: Batch) -> list[Prediction]:
        return predict_classes(forward(**batch.inputs).float(), batch)

    def score(self, predictions: Sequence[Prediction], data: DataSet) -> Scores:
        assert isinstance(data, Images) and data.labels is not None
        return score_classes(predictions, data.labels, self.classes)

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
        load_weights(model, folder)
        return model

    def predict_dataset(self, name: str | None) -> DataSet:
        if name is None:
            raise DataError(Problem("images do not come from stdin", "name an image, or a folder of them"))
        return read_unlabelled(name, self.recipe.data.side, self.recipe.data.channels, self.classes)

    def json_lines(self, predictions: Sequence[Prediction], data: DataSet) -> Iterator[dict[str, Any]]:
        assert isinstance(data, Images)
        for p in predictions:
            probabilities = rounded_probabilities(p, self.classes)
            yield {"file": data.names[p.index], "label": self.classes[p.answer], "probabilities": probabilities}

    def flops_per_token(self, model: nn.Module) -> float:
        assert isinstance(model, CNN)
        return float(flops_per_image(model.config))

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
