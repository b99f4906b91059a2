"""The page in a real browser: it fits a phone, and its own style applies under its own policy."""

from __future__ import annotations

import shutil
import subprocess
from html import escape
from pathlib import Path

import pytest

from planner.report.night_page import night_page
from planner.report.night_record import NightRecord
from tests.report.nights import BAD, GOOD, HOSTILE_NIGHT, NOTHING

BROWSER = shutil.which("chromium")

pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs the program chromium")

_QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=5000",
]

# The page runs no script, so that a page around it looks into it.
_WRAPPER = """<!DOCTYPE html><body><iframe id="page" style="border:0;width:{width}px;height:800px" srcdoc="{page}">
</iframe><pre id="found"></pre><script>
addEventListener("load", () => {{
  const page = document.getElementById("page").contentDocument, root = page.documentElement;
  page.querySelectorAll("details").forEach(one => one.open = true);
  const widest = Math.max(...[...page.querySelectorAll("h1, h2, p, li, dl > div, .scroll, figure, .row, svg")]
    .map(one => one.getBoundingClientRect().right));
  const style = page.defaultView.getComputedStyle(page.body);
  document.getElementById("found").textContent =
    [root.scrollWidth, root.clientWidth, widest, style.marginTop, page.querySelectorAll("script, img").length,
     page.querySelector("h1").getBoundingClientRect().bottom].join(" ");
}});
</script>"""


def look(page: str, width_px: int, folder: Path) -> list[str]:
    """Scroll width, client width, right end of the widest block, margin, scripts and images, end of the heading."""
    wrapper = folder / "wrapper.html"
    wrapper.write_text(_WRAPPER.format(width=width_px, page=escape(page)))
    command = [BROWSER or "", *_QUIET, f"--user-data-dir={folder / 'profile'}", "--dump-dom", wrapper.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    found = done.stdout.partition('<pre id="found">')[2].partition("</pre>")[0]
    assert found, done.stderr[-500:]
    return found.split()


@pytest.mark.parametrize("width_px", [360, 1200])
@pytest.mark.parametrize("record", [GOOD, BAD, NOTHING, HOSTILE_NIGHT], ids=["good", "bad", "nothing", "hostile"])
def test_nothing_is_wider_than_the_screen(record: NightRecord, width_px: int, tmp_path: Path) -> None:
    """Tables scroll inside of themselves; the style applies (no margin); the verdict is on the first screen."""
    scroll, client, widest, margin, foreign, heading = look(night_page(record), width_px, tmp_path)
    assert int(scroll) <= int(client) <= width_px
    assert float(widest) <= width_px
    assert margin == "0px"
    assert foreign == "0"
    assert float(heading) < 800 or record is HOSTILE_NIGHT


def test_the_check_sees_what_is_too_wide(tmp_path: Path) -> None:
    """A page with a block of 900 pixels is found out, so that the test above means something."""
    page = "<!DOCTYPE html><body><h1>x</h1><p style='width:900px'>y</p>"
    assert int(look(page, 360, tmp_path)[0]) > 360
