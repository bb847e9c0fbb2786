"""docs/how-to/add-a-known-error.md, followed in a copy of the checkout, adds an error that is explained."""

from __future__ import annotations

from pathlib import Path

from app.host.explain import explain
from tests.conftest import ROOT
from tests.docs.how_to import Edit, follow, run, steps

PAGE = ROOT / "docs" / "how-to" / "add-a-known-error.md"


def test_the_page_adds_an_error_that_is_explained(tmp_path: Path) -> None:
    report = next(s for s in steps(PAGE.read_text(encoding="utf-8")) if isinstance(s, Edit) and "fixtures" in s.path)
    assert explain(report.text) == [], "the page shows an error that is not known yet"
    root, (explained, tested) = follow(PAGE, tmp_path)
    assert explained.startswith("too-many-open-files: The data loader's workers")
    assert " passed" in tested
    assert run(f"app doctor explain {report.path}", root).startswith("too-many-open-files: ")
    assert "| `too-many-open-files` |" in (root / "docs" / "checks.md").read_text(encoding="utf-8")
