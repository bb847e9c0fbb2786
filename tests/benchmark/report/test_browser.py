"""The page in a browser: nothing wider than the screen, nothing fetched, readable in light and dark."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from app.benchmark.report.html import to_html
from tests.benchmark.sample_results import noisy, result

pytestmark = pytest.mark.slow

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
QUIET = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]

# Runs in the page and writes what it measured as JSON into the document, which `--dump-dom` prints.
PROBE = """
<script>
addEventListener("load", () => {
  const colour = (element, name) => getComputedStyle(element)[name];
  const linear = part => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4;
  const light = text => {
    const [r, g, b] = text.match(/[\\d.]+/g).map(part => linear(part / 255));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const contrast = (a, b) => {
    const [more, less] = [light(a), light(b)].sort((p, q) => q - p);
    return (more + .05) / (less + .05);
  };
  const width = element => element.getBoundingClientRect().width;
  const back = colour(document.body, "backgroundColor"), card = document.getElementById("noise");
  const measured = {
    dark: light(back) < .5,
    width: innerWidth,
    content: document.documentElement.scrollWidth,
    text: contrast(colour(document.body, "color"), back),
    quiet: contrast(colour(document.querySelector(".quiet"), "color"), back),
    noise: contrast(colour(card, "color"), colour(card, "backgroundColor")),
    bars: [...document.querySelectorAll(".bar")].map(width),
    points: [...document.querySelectorAll("svg circle, svg path")].map(width).filter(w => w > 0).length,
    roof: colour(document.querySelector(".roof.bf16"), "stroke"),
    fetched: performance.getEntriesByType("resource").length,
  };
  document.body.innerHTML = "<pre id=measured>" + JSON.stringify(measured) + "</pre>";
});
</script>
"""


@pytest.fixture(scope="module")
def browser() -> str:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    return found


def measure(browser: str, folder: Path, text: str, width: int, dark: bool = False) -> dict[str, Any]:
    """Return what the probe measured of a page in a browser of this width."""
    file = folder / "page.html"
    file.write_text(text.replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    command = [browser, *QUIET, f"--user-data-dir={folder / 'profile'}", f"--window-size={width},1200"]
    command += ["--blink-settings=preferredColorScheme=0"] if dark else ["--blink-settings=preferredColorScheme=1"]
    done = subprocess.run([*command, "--dump-dom", file.as_uri()], capture_output=True, text=True, timeout=120)
    match = re.search(r"<pre id=\"measured\">(.*?)</pre>", done.stdout, re.DOTALL)
    assert match, done.stderr[-2000:]
    measured: dict[str, Any] = json.loads(unescape(match[1]))
    assert measured["dark"] is dark
    return measured


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [500, 1400])
def test_the_page_fits_the_screen_and_is_readable(browser: str, tmp_path: Path, width: int, dark: bool) -> None:
    measured = measure(browser, tmp_path, to_html(noisy(result())), width, dark)
    assert measured["content"] <= measured["width"], "only tables and picture scroll, each in its own frame"
    # WCAG 2.1, success criterion 1.4.3: 4.5 to 1 for text.
    assert min(measured["text"], measured["quiet"], measured["noise"]) >= 4.5
    assert measured["fetched"] == 0


def test_bars_are_as_long_as_their_times_and_every_point_is_drawn(browser: str, tmp_path: Path) -> None:
    measured = measure(browser, tmp_path, to_html(result()), 1400)
    own, float32, compiled = measured["bars"]
    assert own / float32 == pytest.approx(50 / 110, abs=0.01)
    assert compiled / float32 == pytest.approx(40 / 110, abs=0.01)
    assert measured["points"] == 6


def test_dark_mode_has_different_colours(browser: str, tmp_path: Path) -> None:
    roofs = {measure(browser, tmp_path, to_html(result()), 1400, dark)["roof"] for dark in (False, True)}
    assert len(roofs) == 2
