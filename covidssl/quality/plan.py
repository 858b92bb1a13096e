"""What is measured while an encoder is pretrained, how often, and what follows from it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Metric = Literal["probe_auroc", "knn_auroc", "lesion_auroc", "lesion_map_auroc"]

VOLUME_IN_SLICES = 8
"""A volume costs about what so many slices do, and counts as them where a number is bounded."""


class QualityPlan(BaseModel):
    """How an encoder is looked at while it is pretrained.

    Attributes:
        every: steps between evaluations; None for none at all.
        rule: the number that decides which encoder is best; `auto` is `probe_auroc` with a labelled
            set, else `lesion_auroc` where the network restores.
        patience: evaluations without a gain after which the run stops; None: it never does.
        minimum_gain: less than this is no gain to `patience`.
        keep: the encoder that the run hands on, the best by the rule or the last.
        held_out: share of the store's scans that nothing is learnt from, for pseudo-lesions to be
            drawn on; below one scan, they are drawn on slices that are learnt from.
        lesion_slices: slices with pseudo-lesions, at most; a volume counts as eight.
        probe_frames: labelled frames, at most, likewise.
        positive_class: name of the labelled set's class that means COVID-19.
        folds: of the labelled set.
        gap: scans of a class left out at each border of a block, where no patients are known.
        neighbours: of the k-NN.
        labelled: the labelled set, class folders or a CSV `path,label[,patient]`; `--probe-data`. A
            path: it is written into no file of the run.
        cache: folder for its cut frames. A path, likewise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    every: int | None = Field(200, ge=1)
    rule: Metric | Literal["auto"] = "auto"
    patience: int | None = Field(None, ge=1)
    minimum_gain: float = Field(0.002, ge=0, lt=1)
    keep: Literal["best", "last"] = "best"
    held_out: float = Field(0.05, ge=0, le=0.5)
    lesion_slices: int = Field(64, ge=1, le=1024)
    probe_frames: int = Field(400, ge=30, le=10_000)
    # Classes of a table are often called 0 and 1.
    positive_class: str = Field("COVID", coerce_numbers_to_str=True)
    folds: int = Field(5, ge=3, le=20)
    gap: int = Field(30, ge=0)
    neighbours: int = Field(10, ge=1)
    labelled: Path | None = Field(None, exclude=True)
    cache: Path | None = Field(None, exclude=True)
