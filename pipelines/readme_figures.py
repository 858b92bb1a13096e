"""The pictures of the README, from the runs of `make demo`.

    make demo && make figures

Needs Debian's `chromium` (or another Chromium on the path) for the pictures of HTML pages.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from covidssl import report

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
WRITTEN = ("pseudo-lesions", "report", "predictions", "gallery")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def main(
    demo: Annotated[Path, typer.Option(help="Folder of `make demo`.")] = Path("work/demo"),
) -> None:
    """Write the pictures of the README and of docs/lesions.md into docs/images."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with Image.open(demo / "preview" / "preview.png") as sheet:
        # Four of the six rows: enough to see what is meant.
        shown = sheet.convert("RGB").crop((0, 0, sheet.width, round(sheet.height * 0.675)))
        shown.quantize(128).save(IMAGES / "pseudo-lesions.png", optimize=True)
    photograph(demo / "report.html", IMAGES / "report.png", (1100, 1330))
    report.build_report([demo / "predict"], demo / "predictions.html")
    photograph(demo / "predictions.html", IMAGES / "predictions.png", (1280, 1700))
    photograph(demo / "preview" / "preview.html", IMAGES / "gallery.png", (1500, 1540))
    typer.echo("\n".join(str(IMAGES / f"{name}.png") for name in WRITTEN))


def photograph(page: Path, picture: Path, size: tuple[int, int]) -> None:
    """The top of an HTML page as a small PNG, `size` (width, height) in pixels."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise SystemExit(f"No browser found; looked for {', '.join(BROWSERS)}.")
    with tempfile.TemporaryDirectory() as scratch:
        shot = Path(scratch) / "page.png"
        subprocess.run(
            [
                browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
                "--hide-scrollbars", f"--user-data-dir={scratch}/profile",
                f"--screenshot={shot}", f"--window-size={size[0]},{size[1]}",
                page.resolve().as_uri(),
            ],
            check=True, capture_output=True,
        )  # fmt: skip
        with Image.open(shot) as shown:
            colours = shown.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE)
            colours.save(picture, optimize=True)


if __name__ == "__main__":
    typer.run(main)
