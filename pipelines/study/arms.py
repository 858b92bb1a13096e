"""The arms of the comparison: what may teach the encoder before a label is seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

ArmName = Literal[
    "perlin",
    "models_genesis",
    "mae",
    "rotation",
    "simclr",
    "moco",
    "none",
    "imagenet",
    "draem_like",
]


class Arm(NamedTuple):
    """One arm.

    Attributes:
        name: in configurations, folders and records.
        words: in tables.
        source: whose method it is.
    """

    name: ArmName
    words: str
    source: str


_ALL = (
    Arm("perlin", "Perlin pseudo-lesions restored (ours)", "the paper's method"),
    Arm("models_genesis", "Models Genesis", "Zhou et al., Medical Image Analysis 67, 2021"),
    Arm("mae", "masked restoration", "SimMIM, Xie et al., CVPR 2022; SparK, Tian et al., 2023"),
    Arm("rotation", "telling rotations", "Gidaris et al., ICLR 2018"),
    Arm("simclr", "SimCLR", "Chen et al., ICML 2020"),
    Arm("moco", "MoCo v2", "He et al., CVPR 2020; Chen et al., 2020"),
    Arm("none", "no pretraining", "the same first weights, nothing learnt"),
    Arm("imagenet", "ImageNet, supervised", "the paper's baseline; the user gives the file"),
    Arm("draem_like", "anomalies as in DRAEM restored", "Zavrtanik et al., ICCV 2021"),
)
ARMS: Mapping[ArmName, Arm] = {arm.name: arm for arm in _ALL}
"""All that are known, in the order of tables."""

OURS: ArmName = "perlin"
NOTHING: ArmName = "none"
DRAEM_LIKE: ArmName = "draem_like"
"""A rival of localisation alone."""
PRETEXTS: tuple[ArmName, ...] = ("models_genesis", "mae", "rotation", "simclr")
"""The other pretexts that ours is compared with; `simclr` stands for the contrastive ones."""

COMPARED: tuple[ArmName, ...] = (OURS, *PRETEXTS, NOTHING)
"""The arms that need no file of the user's."""


def in_words(arm: str) -> str:
    """An arm as tables call it; trivial rivals are called by their own names."""
    return next((one.words for one in _ALL if one.name == arm), arm)
