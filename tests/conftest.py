"""Shared fixtures: where the repository and the real data sets are, and why a test that needs more skips."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from app.hardware.cpu import usable_cores

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("WORKSPACE_SHARED", ROOT.parent / "shared"))

# Trainings that a test compares take the same number of threads, whatever else this machine does.
os.environ.setdefault("OMP_NUM_THREADS", str(usable_cores()))

# A change is judged by the same examples each time; `HYPOTHESIS_PROFILE=search` draws new ones, to look for faults.
settings.register_profile("fixed", derandomize=True)
settings.register_profile("search", derandomize=False, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


@pytest.fixture(autouse=True)
def _start_at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths in tests, recipes and README commands are the project root's."""
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data sets beside the checkout."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip(f"the real data sets are not at {folder}; WORKSPACE_SHARED names another place")
    return folder


SLOW_TIMEOUT = 1800  # seconds; a training on real data takes minutes, also if nothing else runs


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests in tests/images and tests/gpu carry the marker of their folder; slow ones may take longer."""
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_TIMEOUT))
        for folder in ("images", "gpu"):
            if item.path.is_relative_to(ROOT / "tests" / folder):
                item.add_marker(getattr(pytest.mark, folder))
