"""A trained run that several tests look at, and a cache of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.finetune.small_bert import few_reviews, small_bert


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads what an earlier run of the tests encoded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKSPACE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides that make the sentiment recipe train in a second."""
    folder = tmp_path_factory.mktemp("small")
    return [
        f"model.name={small_bert(folder / 'bert')}",
        *few_reviews(folder / "data"),
        "trainer.max_epochs=12",
        "trainer.batch_size=8",
        "trainer.precision=fp32",
        "optimizer.lr=5e-3",
    ]


@pytest.fixture(scope="session")
def trained(small: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of runs after one training."""
    from app import cli

    runs = tmp_path_factory.mktemp("runs")
    assert cli.main(["train", "sentiment", *small, "--runs", str(runs)]) == 0
    return runs
