"""What a MONAI bundle of covidssl names in its configuration: transform, network, evaluator."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from covidssl.counting import counted
from covidssl.errors import DataError, ScanError
from covidssl.export.scorer import Scorer, built_classifier, levels_of
from covidssl.files import write_csv
from covidssl.frames import unit_from_frames
from covidssl.io import read_ct
from covidssl.lungs import segment_lungs
from covidssl.model import ModelCard
from covidssl.scan_frames import frames_of_scan
from covidssl.weights import read_card

log = logging.getLogger(__name__)

COLUMNS = ("scan", "probability", "label", "problem")
_AT_ONCE = 16


class BundledScorer(Scorer):
    """The `Scorer` of a card, with weights as they are first drawn: the bundle loads them."""

    def __init__(self, card: str) -> None:
        """`card` is the path of the bundle's `models/card.json`."""
        said = read_card(Path(card), ModelCard)
        super().__init__(built_classifier(said), said)
        self.eval()


class ScanPixelsd:
    """A MONAI dictionary transform: a scan's path -> its frames (N, 1, [Z,] Y, X) in pixel values.

    The scan is read, its lungs are found, and frames are cut and cropped as the network's card
    says; a scan that cannot be used gets a `problem` in place of frames.
    """

    def __init__(self, keys: str, card: str) -> None:
        self.keys, self.card = keys, read_card(Path(card), ModelCard)

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        path = Path(data[self.keys])
        low, high = levels_of(self.card.frame)
        try:
            ct = read_ct(path)
            most = self.card.aggregation.most_slices
            cut = frames_of_scan(ct, segment_lungs(ct), self.card.frame, most)
        except ScanError as error:
            return {"scan": path.name, "problem": str(error)}
        unit = unit_from_frames(torch.from_numpy(cut.frames))[:, None]
        return {"scan": path.name, "problem": "", self.keys: low + (high - low) * unit}


class ScanEvaluator:
    """Runs the network over scans, and writes a row for each into `predictions.csv`."""

    def __init__(
        self,
        network: Scorer,
        dataloader: Iterable[Mapping[str, Any]],
        inferer: Callable[[torch.Tensor, Scorer], tuple[torch.Tensor, ...]],
        card: str,
        device: torch.device | str,
        output_dir: str,
    ) -> None:
        self.network, self.dataloader, self.inferer = network, dataloader, inferer
        self.card, self.device = read_card(Path(card), ModelCard), torch.device(device)
        self.out = Path(output_dir) / "predictions.csv"

    def run(self) -> None:
        """Every scan of the data loader; a bad one is a row with its reason."""
        rows = [self._row(one) for one in self.dataloader]
        write_csv(self.out, COLUMNS, rows)
        failed = sum("problem" in row for row in rows)
        told = counted(len(rows), "scan")
        log.info("%s: %s, %d of them could not be used", self.out.name, told, failed)

    @torch.no_grad()
    def _row(self, one: Mapping[str, Any]) -> dict[str, object]:
        if one["problem"]:
            return {"scan": one["scan"], "problem": one["problem"]}
        self.network.eval()
        pixels = one["image"].to(self.device)
        parts = [self.inferer(part, self.network) for part in pixels.split(_AT_ONCE)]
        columns = [torch.cat(column).double().cpu().numpy() for column in zip(*parts, strict=True)]
        attention = columns[2] if len(columns) > 2 else None
        logit = self.card.aggregation.of(columns[0], attention)
        probability = float(self.card.calibration.probability(logit))
        label = self.card.classes[probability >= self.card.operating_point]
        return {"scan": one["scan"], "probability": f"{probability:.6f}", "label": label}


def scans_in(folder: str) -> list[dict[str, str]]:
    """Every entry of a folder, a file or a DICOM folder, as MONAI's list of data; or one file.

    Raises:
        DataError: where there is no such folder, or nothing in it.
    """
    if Path(folder).is_file():
        return [{"image": folder}]
    if not Path(folder).is_dir():
        raise DataError(
            f"{folder}: there is no such folder. Give one with scans: --dataset_dir SCANS."
        )
    entries = sorted(path for path in Path(folder).iterdir() if not path.name.startswith("."))
    if not entries:
        raise DataError(f"{folder}: is empty. Give a folder with scans: --dataset_dir SCANS.")
    return [{"image": str(path)} for path in entries]
