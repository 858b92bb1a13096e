"""The pictures of the README, from the runs of `make demo`.

    make demo && make figures

Needs Debian's `chromium` (or another Chromium on the path) for the picture of the report.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def main(
    demo: Annotated[Path, typer.Option(help="Folder of `make demo`.")] = Path("work/demo"),
) -> None:
    """Write docs/images/pseudo-lesions.png and docs/images/report.png."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with Image.open(demo / "preview" / "preview.png") as sheet:
        # Four of the six rows: enough to see what is meant.
        shown = sheet.convert("RGB").crop((0, 0, sheet.width, round(sheet.height * 0.675)))
        shown.quantize(128).save(IMAGES / "pseudo-lesions.png", optimize=True)
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise SystemExit(f"No browser found; looked for {', '.join(BROWSERS)}.")
    with tempfile.TemporaryDirectory() as scratch:
        shot = Path(scratch) / "report.png"
        subprocess.run(
            [
                browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
                "--hide-scrollbars", f"--user-data-dir={scratch}/profile",
                f"--screenshot={shot}", "--window-size=1100,1330",
                (demo / "report.html").resolve().as_uri(),
            ],
            check=True, capture_output=True,
        )  # fmt: skip
        with Image.open(shot) as page:
            page.convert("RGB").quantize(128).save(IMAGES / "report.png", optimize=True)
    typer.echo(f"{IMAGES / 'pseudo-lesions.png'}\n{IMAGES / 'report.png'}")


if __name__ == "__main__":
    typer.run(main)
