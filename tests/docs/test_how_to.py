"""The reader of the pages in docs/how-to: what it makes of a page's blocks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.docs.how_to import Commands, Edit, apply, run, steps

PAGE = """\
# A page

Create `a/new.py`:

```python
x = 1
```

Now append to `list.json`:

```json
{"id": 2}
```

This is only shown:

```python
y = 2
```

```sh
app recipes
```
"""


def test_blocks_are_edits_and_commands_in_their_order() -> None:
    assert list(steps(PAGE)) == [
        Edit("a/new.py", "x = 1\n", append=False),
        Edit("list.json", '{"id": 2}\n', append=True),
        Commands("app recipes\n"),
    ]


def test_a_file_is_created_or_appended_to(tmp_path: Path) -> None:
    apply(Edit("a/new.py", "x = 1\n", append=False), tmp_path)
    apply(Edit("a/new.py", "y = 2\n", append=True), tmp_path)
    assert (tmp_path / "a" / "new.py").read_text() == "x = 1\n\n\ny = 2\n"
    with pytest.raises(AssertionError):
        apply(Edit("a/new.py", "x = 1\n", append=False), tmp_path)
    with pytest.raises(AssertionError):
        apply(Edit("missing.py", "x = 1\n", append=True), tmp_path)


def test_a_json_block_becomes_the_last_element_of_the_list(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text('{"schema": 1, "rows": [{"id": 1}]}')
    apply(Edit("list.json", '{"id": 2}', append=True), tmp_path)
    assert json.loads((tmp_path / "list.json").read_text()) == {"schema": 1, "rows": [{"id": 1}, {"id": 2}]}


def test_commands_run_in_the_folder_and_a_failure_fails(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "here.py").write_text("print('here')\n")
    assert run("python here.py\n", root) == "here\n"
    with pytest.raises(AssertionError, match="missing"):
        run("python missing.py\n", root)


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "how-to").glob("*.md")), ids=lambda page: page.stem)
def test_a_page_has_files_to_touch_and_commands_to_run(page: Path) -> None:
    found = list(steps(page.read_text(encoding="utf-8")))
    assert {type(step) for step in found} == {Edit, Commands}
