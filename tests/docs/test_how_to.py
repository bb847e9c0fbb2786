"""The pages of docs/how-to are true: their edits fit the checkout, and their commands succeed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from app.host.explain import explain
from tests.conftest import ROOT
from tests.docs.how_to import copy_of_checkout, follow, run
from tests.finetune.small_bert import small_bert

PAGES = ROOT / "docs" / "how-to"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return copy_of_checkout(tmp_path / "checkout")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_recipe_is_added(checkout: Path, tmp_path: Path) -> None:
    model = small_bert(tmp_path / "bert")
    outputs = dict(follow(PAGES / "add-a-recipe.md", checkout, {"sentence-transformers/all-MiniLM-L6-v2": str(model)}))
    answer = json.loads(list(outputs.values())[-1].splitlines()[-1])
    assert answer["label"] in ("billing", "technical")
    assert len(list((checkout / "runs" / "tickets").glob("*/report.md"))) == 1


@pytest.mark.slow
@pytest.mark.timeout(600)  # four processes that import torch
def test_a_task_and_a_model_are_added(checkout: Path) -> None:
    for page in ("add-a-task.md", "add-a-model.md"):
        outputs = list(follow(PAGES / page, checkout))
        assert re.search(r"\b1 passed", outputs[-1][1]), "its test ran"
    runs = (checkout / "runs" / "counts").glob("*/run.json")
    scores = [json.loads(path.read_text())["scores"]["test"]["loss"] for path in sorted(runs)]
    assert len(scores) == 2 and abs(scores[0] - scores[1]) < 0.1, "both architectures learn it"


def test_a_doctor_check_is_added(checkout: Path) -> None:
    outputs = [output for _, output in follow(PAGES / "add-a-doctor-check.md", checkout)]
    assert "3 passed" in outputs[0] and "temporary folder" in outputs[1]
    document = json.loads(run("app doctor --quick --json || true", checkout))
    (result,) = [r for r in document["results"] if r["name"] == "temporary folder"]
    assert result["status"] in ("pass", "warn")
    row = "| temporary folder (quick) | The temporary folder has room for compiled kernels. | nothing | 5 s |"
    assert row in (checkout / "docs" / "checks.md").read_text(encoding="utf-8").splitlines()


@pytest.mark.slow
def test_a_known_error_is_added(checkout: Path) -> None:
    assert explain("OSError: [Errno 116] Stale file handle: 'part-0.npy'") == [], "the page's example is not known yet"
    outputs = dict(follow(PAGES / "add-a-known-error.md", checkout))
    explained, *_, tested = outputs.values()
    assert explained.startswith("stale-file: A file on a network disk") and " passed" in tested
    report = "tests/fixtures/errors/known/stale-file.numpy.txt"
    assert run(f"app doctor explain {report}", checkout).startswith("stale-file: ")
    assert "| `stale-file` |" in (checkout / "docs" / "checks.md").read_text(encoding="utf-8")


def test_every_page_is_listed_and_followed() -> None:
    pages = {path.name for path in PAGES.glob("*.md")} - {"README.md"}
    assert set(re.findall(r"\]\((.+?\.md)\)", (PAGES / "README.md").read_text(encoding="utf-8"))) == pages
    followed = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{page}"' in followed for page in pages)


def test_an_edit_whose_line_is_missing_fails(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("first = 1\n")
    page = tmp_path / "page.md"
    page.write_text("In `a.py`, after `second = 2`, add:\n\n```python\nthird = 3\n```\n")
    with pytest.raises(AssertionError, match="occurs 0 times"):
        list(follow(page, tmp_path))
