"""Phantom slices and prepared stores to preview, and how previews are read."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from covidssl.commands import prepare, preview
from covidssl.config import load_config
from covidssl.errors import CovidsslError, DataError, UsageError
from covidssl.experiments import PrepareConfig, PreviewConfig
from covidssl.io import write_volume
from covidssl.lesions import Rendered
from covidssl.phantom import phantom_chest

SMALL = ["frame.size=48", "frame.pixels=hu", "slices=3"]
Slices = tuple[torch.Tensor, torch.Tensor, Rendered, list[str]]


def phantom_slices() -> tuple[torch.Tensor, torch.Tensor]:
    scan = phantom_chest(1, lesions=False)
    hu = torch.tensor(scan.ct.array[5:8].astype(np.float32))[:, None]
    return hu, torch.tensor(scan.lungs.array[5:8])[:, None]


def prepared(folder: Path, seed: int) -> Path:
    ct = phantom_chest(seed, False, (6, 72, 72), (16.0, 4.8, 4.8)).ct
    write_volume(ct, folder / "scans" / f"scan{seed}.nii.gz")
    prepare.main(PrepareConfig(), [folder / "scans"], folder / "store")
    return folder / "store"


def small(*more: str) -> PreviewConfig:
    return load_config(PreviewConfig, None, [*SMALL, *more])


def draws_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "draws.json").read_text(encoding="utf-8"))


class Page(HTMLParser):
    """Tags, addresses and text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for key, value in attrs if key in ("src", "href", "action")]

    def handle_data(self, data: str) -> None:
        self.text += data


def written(folder: Path, content: Any) -> Path:
    path = folder / "given.json"
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return path


def refused(path: Path, store: Path, folder: Path, config: PreviewConfig | None = None) -> str:
    with pytest.raises(CovidsslError) as refusal:
        preview.main(config or PreviewConfig(), store, folder / "out", replay=path)
    assert isinstance(refusal.value, DataError | UsageError)
    assert not (folder / "out").exists()
    return str(refusal.value)
