"""What is chosen where the paper is silent: one factor at a time, and what it is set to instead."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from covidssl.experiments import PretrainConfig
from covidssl.lesions import preset, preset_names
from pipelines.study.arms import NOTHING, OURS, ArmName
from pipelines.study.frozen import Made
from pipelines.study.pretraining import (
    pretrain,
    pretrain_config,
    run_folder,
    store_folder,
)

STEPS = 256
"""Of every pretraining of the ablation, x 32 pictures: fewer than for the paper's table."""

DEFAULT, UNTRAINED = "default", "untrained"
DEFAULT_SEEDS = (0, 1, 2)
"""Pretrainings of the default: how far apart they come out is what every difference is held to."""

_LESIONS, _AUGMENT, _LOSS = "pretext.lesions", "pretext.augment", "pretext.loss"


class Factor(NamedTuple):
    """Something that is chosen.

    Attributes:
        key: for names of stages.
        words: in tables.
        paper: what the paper says of it.
    """

    key: str
    words: str
    paper: str


_ALL = (
    Factor("default", "all as in the paper's table", ""),
    Factor("noise", "the noise", "left open"),
    Factor("opacity", "opacity and blending", "left open"),
    Factor("texture", "contrast within consolidation", "not mentioned"),
    Factor("number", "number of lesions", "left open"),
    Factor("size", "size of lesions", "left open"),
    Factor("place", "place of lesions", "anywhere in the lungs"),
    Factor("loss", "restoration loss", "left open"),
    Factor("clean", "share of clean samples", "left open"),
    Factor("head", "lesion map", "not mentioned"),
    Factor("skips", "skip connections closed", "not mentioned"),
    Factor("preset", "kinds of lesion", "ground glass"),
    Factor("window", "windows seen while learning", "left open"),
    Factor("views", "views without the shortcuts", "not mentioned"),
    Factor("crop", "crop of the frame", "left open"),
)
FACTORS: Mapping[str, Factor] = {factor.key: factor for factor in _ALL}


class Choice(NamedTuple):
    """One pretraining.

    Attributes:
        name: in folders and records.
        factor: key of what is changed.
        keys: of the configuration, with their values; none for the default.
        arm: what teaches.
    """

    name: str
    factor: str
    keys: Mapping[str, Any] = {}
    arm: ArmName = OURS

    def config(self, seed: int = 0) -> PretrainConfig:
        """What it is pretrained with; where nothing is learnt, that of the paper's table."""
        if self.arm == NOTHING:
            return pretrain_config(NOTHING, seed)
        own = [f"{key}={json.dumps(value)}" for key, value in self.keys.items()]
        return pretrain_config(self.arm, seed, [f"training.steps={STEPS}", *own])

    def run(self, runs: Path, seed: int = 0) -> Path:
        """Where its run lies."""
        if self.arm == NOTHING:
            return run_folder(runs, NOTHING, seed=seed)
        return run_folder(runs, self.arm, seed=seed, variant=f"{STEPS}-steps-{self.name}")

    def made(self, runs: Path) -> list[Made]:
        """Its pretrainings, a seed each."""
        store = store_folder(runs)
        return [
            Made(self.run(runs, seed), self.config(seed), store, f"encoder of seed {seed}")
            for seed in self.seeds
        ]

    def learn(self, runs: Path) -> None:
        """Pretrain with each of its seeds; what is done is left as it is."""
        for one in self.made(runs):
            if one.left():
                pretrain(one.config, one.store, one.run)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of its pretrainings."""
        return DEFAULT_SEEDS if self.name == DEFAULT else (0,)


def _lesions(name: str, factor: str, **keys: Any) -> Choice:
    return Choice(name, factor, {f"{_LESIONS}.{key}": value for key, value in keys.items()})


def _augment(name: str, factor: str, **keys: Any) -> Choice:
    return Choice(name, factor, {f"{_AUGMENT}.{key}": value for key, value in keys.items()})


def _loss(name: str, **keys: Any) -> Choice:
    return Choice(name, "loss", {f"{_LOSS}.{key}": value for key, value in keys.items()})


NARROW = _augment("narrow-window", "window", window_low_hu=[-1030, -970], window_high_hu=[340, 460])
NO_VIEWS = _augment("no-such-views", "views", ranked=0, blanked=0)
UNCROPPED = Choice("uncropped", "crop", {"frame.crop": "none"})

AS_EVER = Choice(DEFAULT, "default")

CHOICES: tuple[Choice, ...] = (
    AS_EVER,
    Choice(UNTRAINED, "default", arm=NOTHING),
    _lesions("one-octave", "noise", octaves=[1, 1]),
    _lesions("many-octaves", "noise", octaves=[4, 6]),
    _lesions("faint", "opacity", opacity_hu=[40, 160]),
    _lesions("strong", "opacity", opacity_hu=[400, 800]),
    _lesions("plain-paste", "opacity", vessels_kept=[0, 0]),
    _lesions("textured-consolidation", "texture", dense_contrast_hu=[50, 110]),
    _lesions("one-lesion", "number", foci=[1, 1]),
    _lesions("many-lesions", "number", foci=[6, 12]),
    _lesions("small", "size", radius_mm=[3, 10]),
    _lesions("large", "size", radius_mm=[24, 60]),
    _lesions("no-preference", "place", periphery=[0, 0], dorsal=[0, 0], lower=[0, 0], bilateral=0),
    Choice("outside-too", "place", {"pretext.confined": False}),
    # Ten times: a squared error is small, and the lesion map's would outweigh it.
    _loss("squared", l1=0, l2=10),
    _loss("ssim", l1=0, l2=10, ssim=1),
    _loss("lesions-not-weighted", lesion_weight=1),
    _lesions("never-clean", "clean", clean_share=0),
    _lesions("half-clean", "clean", clean_share=0.5),
    Choice("map-from-decoder", "head", {"pretext.lesion_head": "decoder"}),
    Choice("map-counts-little", "head", {f"{_LOSS}.lesion_map": 0.05}),
    Choice("no-map", "head", {"pretext.lesion_head": "none"}),
    Choice("skips-open", "skips", {"pretext.skip_dropout": 0.0}),
    Choice("skips-mostly-closed", "skips", {"pretext.skip_dropout": 0.6}),
    Choice("preset-paper", "preset", {_LESIONS: "paper"}),
    Choice("preset-draem", "preset", {_LESIONS: "draem_like"}),
    NARROW,
    NO_VIEWS,
    UNCROPPED,
)
"""Every pretraining of the ablation, factor by factor."""


def default_values(choice: Choice) -> dict[str, Any]:
    """What the default has where a choice differs, by key; all lesions by their preset."""
    held = AS_EVER.config().model_dump(mode="json")
    return {key: _at(held, key.split(".")) for key in choice.keys}


def set_to(keys: Mapping[str, Any]) -> str:
    """Keys and values as text: `octaves 1 to 3`; a preset with the ranges that it changes."""
    parts = []
    for key, value in keys.items():
        changed = f" (other {', '.join(changed_ranges(value))})" if _is_preset(key, value) else ""
        parts.append(f"{key.rpartition('.')[2]} {_text(value)}{changed}")
    return ", ".join(parts)


def changed_ranges(name: str) -> list[str]:
    """The ranges of a preset that are not those of the default."""
    return _unlike(name, AS_EVER.config().model_dump(mode="json")["pretext"]["lesions"])


def _is_preset(key: str, value: Any) -> bool:
    return key == _LESIONS and value in preset_names()


def _at(held: Any, path: Sequence[str]) -> Any:
    for part in path:
        held = held[part]
    return _preset_words(held) if isinstance(held, dict) else held


def _preset_words(ranges: Mapping[str, Any]) -> str:
    """The preset that is nearest, and what is set beside it."""
    name = min(preset_names(), key=lambda one: len(_unlike(one, ranges)))
    beside = [f"{key} {_text(ranges[key])}" for key in _unlike(name, ranges)]
    return f"{name} with {', '.join(beside)}" if beside else name


def _unlike(name: str, ranges: Mapping[str, Any]) -> list[str]:
    theirs = preset(name).model_dump(mode="json")
    return [key for key in theirs if theirs[key] != ranges[key]]


def _text(value: Any) -> str:
    if isinstance(value, list):
        low, high = (f"{one:g}" for one in value)
        return low if low == high else f"{low} to {high}"
    return value if isinstance(value, str) else json.dumps(value)
