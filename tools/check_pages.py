"""Check pages as their readers see them: axe's rules, and no page wider than its window.

    npm install axe-core
    python -m tools.check_pages audit/report.html comparison.html

Each page is opened in headless Chromium at 420 and 1,280 pixels, light and dark. Anything that axe
calls serious or critical, and a page that has to be scrolled sideways, is a fault. Ends with 1 if
there is one.
"""

import argparse
import html
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

__all__ = ["CHROMIUM", "faults_of", "find_axe", "main"]

CHROMIUM = next(
    (found for name in ("chromium", "google-chrome") if (found := shutil.which(name))), ""
)
WIDTHS = (420, 1280)
_GRAVE = ("serious", "critical")
_SECONDS = 120
# The page in a frame of its width: a window of Chromium is never narrower than 500 pixels.
_FRAME = """<!doctype html><title>frame</title><pre id="found"></pre>
<script>
onmessage = event => {{ document.getElementById("found").textContent = event.data }};
</script>
<iframe style="border:0;width:{width}px;height:2000px" srcdoc="{page}"></iframe>"""
_PROBE = """axe.run().then(found => parent.postMessage(JSON.stringify({
  wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  violations: found.violations.map(one => ({
    id: one.id, impact: one.impact, help: one.help,
    nodes: one.nodes.map(node => node.html.slice(0, 200))})),
}), "*"));"""


def find_axe(folder: Path = Path()) -> Path | None:
    """``axe.min.js`` where npm has put it; None where it has not."""
    path = folder / "node_modules" / "axe-core" / "axe.min.js"
    return path if path.is_file() else None


def faults_of(page: Path, axe: Path, widths: Sequence[int] = WIDTHS) -> Iterator[str]:
    """What is wrong with a page, in windows of these widths: a sentence each."""
    for width in widths:
        for dark in (False, True):
            where = f"{page} at {width} pixels, {'dark' if dark else 'light'}"
            found = _probe(page.read_text("utf-8"), axe.read_text("utf-8"), width, dark)
            if found["wide"] > 0:
                yield f"{where}: it is {found['wide']} pixels wider than its window."
            for one in found["violations"]:
                if one["impact"] in _GRAVE:
                    first, *others = one["nodes"]
                    more = f" and {len(others)} more" if others else ""
                    yield f"{where}: {one['help']} ({one['id']}, {one['impact']}): {first}{more}"


def _probe(text: str, axe: str, width: int, dark: bool) -> dict[str, Any]:
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    if dark:
        text = text.replace("(prefers-color-scheme: dark)", "(min-width: 0)")
    text = text.replace("</body>", f"<script>{axe}</script><script>{_PROBE}</script></body>")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "frame.html")
        file.write_text(_FRAME.format(width=width, page=html.escape(text)), "utf-8")
        command = [
            CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            f"--user-data-dir={folder}/profile", f"--window-size={max(WIDTHS) + 100},2100",
            "--virtual-time-budget=60000", "--dump-dom", file.as_uri(),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    said = re.search(r'<pre id="found">(.+?)</pre>', done.stdout, re.DOTALL)
    if said is None:
        raise SystemExit(f"Chromium gave no result: {done.stderr[-500:]}")
    result: dict[str, Any] = json.loads(html.unescape(said[1]))
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the pages that are named."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("pages", nargs="+", type=Path)
    parser.add_argument("--axe", type=Path, default=find_axe(), help="axe.min.js of axe-core")
    given = parser.parse_args(arguments)
    if not CHROMIUM or given.axe is None:
        parser.error("Chromium and axe-core (npm install axe-core, or --axe FILE) are needed")
    faults = [fault for page in given.pages for fault in faults_of(page, given.axe)]
    print("\n".join(faults or [f"{len(given.pages)} pages without a fault"]))
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
