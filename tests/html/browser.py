"""Opens pages in a headless Chromium, as a person would; skips where there is none."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium to open a page with (Debian: chromium)"
)

# The page in a frame as wide as a phone's screen; the title says how wide it has become.
ON_A_PHONE = """<!doctype html><html><body><iframe style="width: 390px; height: 800px; border: 0">
</iframe><script>
const frame = document.querySelector("iframe");
frame.addEventListener("load", () => {
  document.title = frame.contentDocument.documentElement.scrollWidth;
});
frame.srcdoc = PAGE;
</script></body></html>"""


def dom_after(page: str, script: str, folder: Path) -> str:
    """The page's elements once `script` has run at its end."""
    path = folder / "page.html"
    path.write_text(page.replace("</body>", f"<script>{script}</script></body>"))
    return _chromium("--dump-dom", path.as_uri())


def greys_seen(page: str, folder: Path, width: int = 1400, height: int = 3000) -> dict[int, int]:
    """How many pixels are of each pure grey, 0 to 255, where it is seen in a window."""
    path, picture = folder / "page.html", folder / "page.png"
    path.write_text(page)
    _chromium(f"--screenshot={picture}", f"--window-size={width},{height}", path.as_uri())
    red, green, blue = np.asarray(Image.open(picture).convert("RGB")).reshape(-1, 3).T
    greys, counts = np.unique(red[(red == green) & (green == blue)], return_counts=True)
    return dict(zip(greys.tolist(), counts.tolist()))


def width_on_a_phone(page: str, folder: Path) -> int:
    """Pixels that the page takes on a screen 390 wide; more than that has to be scrolled."""
    path = folder / "phone.html"
    # "</" would end the element that the page stands in.
    path.write_text(ON_A_PHONE.replace("PAGE", json.dumps(page).replace("</", "<\\/")))
    return int(re.search(r"<title>(\d+)</title>", _chromium("--dump-dom", path.as_uri())).group(1))


def _chromium(*options: str) -> str:
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu"]
    command += ["--virtual-time-budget=5000", *options]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
