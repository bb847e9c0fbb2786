"""docs/how-to/add-a-doctor-check.md, followed in a copy of the checkout, adds a check."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import ROOT
from tests.docs.how_to import follow, run

PAGE = ROOT / "docs" / "how-to" / "add-a-doctor-check.md"


def test_the_page_adds_a_check_that_runs_and_is_listed(tmp_path: Path) -> None:
    root, (tested, checked, *_) = follow(PAGE, tmp_path)
    assert "3 passed" in tested
    assert "temporary folder" in checked
    document = json.loads(run("app doctor --quick --json || true", root))
    (result,) = [r for r in document["results"] if r["name"] == "temporary folder"]
    assert result["status"] in ("pass", "warn")
    row = "| temporary folder (quick) | The temporary folder has room for compiled kernels. | nothing | 5 s |"
    assert row in (root / "docs" / "checks.md").read_text(encoding="utf-8").splitlines()
