"""Encoders of the studies: pretrained once an arm, corpus and seed, and found again."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from covidssl.commands import pretrain as verb
from covidssl.config import load_config
from covidssl.errors import DataError, UsageError
from covidssl.experiments import PretrainConfig
from covidssl.networks.encoder import Encoder
from covidssl.runs import alone_in_run, changed_results
from covidssl.weights import load_encoder
from covidssl.yaml_text import read_yaml
from pipelines.study.arms import ARMS, ArmName

log = logging.getLogger(__name__)

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "reproduce"
OVERRIDES = "overrides"
"""Folder below it: keys over a configuration, and no configuration themselves."""

Corpus = Literal["luna16", "luna16-and-targets"]
Scale = Literal["cpu", "gpu"]


class Pretrained(NamedTuple):
    """An encoder as a run left it, ready to be asked.

    Attributes:
        encoder: the network.
        sha256: of its weights.
    """

    encoder: Encoder
    sha256: str


def run_folder(
    runs: Path,
    arm: ArmName,
    corpus: Corpus = "luna16",
    fold: int | None = None,
    seed: int = 0,
    variant: str = "",
) -> Path:
    """Where a pretraining lies.

    Args:
        runs: folder of all runs.
        arm: what teaches.
        corpus: what is learnt from.
        fold: of the target sets, of which no image was learnt from; None where none is in it.
        seed: of weights and draws.
        variant: a word of a study that changes settings, such as `steps-300`.
    """
    parts: list[str] = [arm, corpus]
    if fold is not None:
        parts.append(f"fold-{fold}")
    if variant:
        parts.append(variant)
    return runs / "pretrain" / "-".join([*parts, f"seed-{seed}"])


def store_folder(runs: Path, corpus: Corpus = "luna16", fold: int | None = None) -> Path:
    """Where the prepared store of a corpus lies."""
    return runs / f"store-{corpus}{'' if fold is None else f'-fold-{fold}'}"


def pretrain_config(
    arm: ArmName,
    seed: int = 0,
    overrides: Sequence[str] = (),
    configs: Path = CONFIGS,
    scale: Scale = "cpu",
) -> PretrainConfig:
    """What an arm is pretrained with: what all share, the scale's keys, its own, then overrides.

    Args:
        arm: what teaches; not `imagenet`, which is brought.
        seed: of weights and draws.
        overrides: `key=value` as of `covidssl pretrain --set`.
        configs: folder with `pretrain.yaml`, `arms.yaml` and `gpu.yaml`.
        scale: `gpu` takes the keys of `gpu.yaml` under `pretrain`, too.

    Raises:
        UsageError: for an arm without settings, or settings that cannot be used.
    """
    own = read_yaml(configs / OVERRIDES / "arms.yaml")
    if arm not in own:
        raise UsageError(f"{configs / 'arms.yaml'}: has no keys of arm '{arm}' ({', '.join(own)}).")
    larger = read_yaml(configs / OVERRIDES / "gpu.yaml")["pretrain"] if scale == "gpu" else {}
    given = [*as_overrides(larger), *as_overrides(own[arm] or {}), f"seed={seed}", *overrides]
    return load_config(PretrainConfig, configs / "pretrain.yaml", given)


def as_overrides(keys: Mapping[str, Any]) -> list[str]:
    """Dotted keys with their values as `--set` takes them."""
    return [f"{key}={json.dumps(value)}" for key, value in keys.items()]


def pretrain(
    config: PretrainConfig,
    store: Path,
    run: Path,
    device: str = "cpu",
    init: Path | None = None,
) -> Path:
    """Pretrain, or go on where a stopped run was, or find it done; gives the run folder.

    A run that was made with other settings or on other data is set aside, which is said, and made
    again.

    Raises:
        BusyError: when another process pretrains there, with whatever settings.
        CovidsslError: as `covidssl pretrain`.
    """
    # Stopped in a folder of other settings, nobody knows which of the two is meant: start anew.
    if what_differs(run, config, store):
        _set_aside(run, config, store)
    return verb.main(config, store, run, "resume", init=init, device=device)


def what_differs(run: Path, config: PretrainConfig, store: Path) -> str:
    """Why a run is not one of these settings and data, in words; empty where it is, or not begun.

    Keys that a resume may change (`covidssl.runs.FREE`) do not count.
    """
    if not (run / "config.yaml").is_file():
        return ""
    try:
        before = load_config(PretrainConfig, run / "config.yaml")
    except UsageError:
        return "another version wrote its configuration"
    changed = changed_results(before, config)
    if changed:
        return "; ".join(changed[:3])
    learnt = _json(run / "record.json").get("data", {}).get("store")
    now = _json(store / "store.json").get("fingerprint")
    return "its data are others" if learnt and now and learnt != now else ""


def is_done(run: Path, config: PretrainConfig | None = None, store: Path | None = None) -> bool:
    """Whether a run has ended well, and with these settings and data, where they are given."""
    if _json(run / "record.json").get("status") != "done":
        return False
    return config is None or not what_differs(run, config, store or run)


def encoder_of(run: Path) -> Pretrained:
    """The encoder that a run has left.

    Raises:
        DataError: when the run has not ended well.
        WeightsError: when its files are damaged.
    """
    file = run / "encoder.safetensors"
    if (run / "record.json").is_file() and not is_done(run):
        raise DataError(f"{run}: this pretraining has not ended; run its stage again.")
    if not file.is_file():
        raise DataError(f"{run}: there is no encoder yet; run the stage that makes it.")
    encoder, card = load_encoder(file)
    return Pretrained(encoder, card.sha256)


def sha256_of_encoder(run: Path) -> str:
    """SHA-256 of the encoder that a run has left, without loading it; empty where there is none."""
    return str(_json(run / "encoder.json").get("sha256", ""))


def data_of_encoder(run: Path) -> str:
    """Fingerprint of what an encoder learnt from; of weights that were brought, of their file."""
    learnt = _json(run / "encoder.json").get("trained_on")
    return str(learnt.get("data_fingerprint", "")) if isinstance(learnt, dict) else ""


def minutes_of(run: Path) -> float | None:
    """Minutes that a run took; None where it has not ended."""
    seconds = _json(run / "record.json").get("duration_s")
    return None if seconds is None else float(seconds) / 60


def must_be_arm(name: str) -> ArmName:
    """A word as the arm that it names.

    Raises:
        UsageError: when there is no such arm.
    """
    for arm in ARMS:
        if arm == name:
            return arm
    raise UsageError(f"There is no arm '{name}'; there are {', '.join(ARMS)}.")


def _set_aside(run: Path, config: PretrainConfig, store: Path) -> None:
    with alone_in_run(run, "pretrain"):
        # Again: until it was locked another process may have set it aside and made it anew.
        differs = what_differs(run, config, store)
        if differs:
            aside = _aside(run)
            log.warning("%s: made again, since %s; the old one is %s.", run, differs, aside.name)
            run.rename(aside)


def _aside(run: Path) -> Path:
    number = 1
    while (found := run.with_name(f"{run.name}.before-{number}")).exists():
        number += 1
    return found


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
