"""A MONAI bundle: configuration, metadata, weights and words, run by `python -m monai.bundle`.

Laid out after MONAI's bundle specification (docs.monai.io, "MONAI Bundle Specification").
"""

from __future__ import annotations

import io
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from covidssl.export.bundled import BundledScorer
from covidssl.export.checks import Check, compare
from covidssl.export.scorer import levels_of, scorer_of
from covidssl.export.sidecar import describe, window_of
from covidssl.files import write_bytes, write_json, write_text
from covidssl.foreign import read_state_dict
from covidssl.hounsfield import Pixels
from covidssl.model import PAGE, Model, ModelCard
from covidssl.model_page import model_markdown
from covidssl.version import __version__
from covidssl.weights import load_strictly

SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)


def write_bundle(model: Model, folder: Path) -> Check:
    """Write a bundle folder; its `metadata.json` comes last.

    `models/model.pt` is a plain state dict, since that is what MONAI's tools read; nothing of
    covidssl reads it but the check here, which does not run what it holds.

    Raises:
        WeightsError: when the network that the bundle builds says something else than the model.
    """
    scorer = scorer_of(model)
    card = model.card
    write_text(folder / "models" / "card.json", card.model_dump_json(indent=2) + "\n")
    content = io.BytesIO()
    torch.save(dict(scorer.state_dict()), content)
    write_bytes(folder / "models" / "model.pt", content.getvalue())
    again = BundledScorer(str(folder / "models" / "card.json"))
    load_strictly(again, read_state_dict(folder / "models" / "model.pt"), "model.pt")
    check = compare(scorer, again, f"{folder.name}/models/model.pt")
    write_json(folder / "configs" / "inference.json", _inference())
    write_json(folder / "docs" / "covidssl.json", describe(card, check))
    write_text(folder / "docs" / PAGE, model_markdown(card.model_dump(mode="json")))
    write_text(folder / "docs" / "README.md", _readme(card))
    write_text(folder / "LICENSE", card.licence_note + "\n")
    write_json(folder / "configs" / "metadata.json", _metadata(card))
    return check


def _inference() -> dict[str, Any]:
    ours = "covidssl.export.bundled"
    return {
        "imports": ["$import torch", f"$from {ours} import scans_in"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/data'",
        "output_dir": "$@bundle_root + '/eval'",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "card": "$@bundle_root + '/models/card.json'",
        "ckpt": "$@bundle_root + '/models/model.pt'",
        "network_def": {"_target_": f"{ours}.BundledScorer", "card": "@card"},
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": f"{ours}.ScanPixelsd", "keys": "image", "card": "@card"},
            ],
        },
        "dataset": {
            "_target_": "Dataset",
            "data": "$scans_in(@dataset_dir)",
            "transform": "@preprocessing",
        },
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@dataset",
            "batch_size": 1,
            "shuffle": False,
            "num_workers": 0,
            "collate_fn": "$lambda scans: scans[0]",
        },
        "inferer": {"_target_": "SimpleInferer"},
        "evaluator": {
            "_target_": f"{ours}.ScanEvaluator",
            "network": "@network",
            "dataloader": "@dataloader",
            "inferer": "@inferer",
            "card": "@card",
            "device": "@device",
            "output_dir": "@output_dir",
        },
        "initialize": [
            "$@network.load_state_dict(torch.load(@ckpt, map_location=@device, weights_only=True))",
        ],
        "run": ["$@evaluator.run()"],
    }


def _metadata(card: ModelCard) -> dict[str, Any]:
    hu = card.frame.pixels is Pixels.HU
    axes = ["*"] * (len(card.frame.shape))
    return {
        "schema": SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": f"written by covidssl {__version__}"},
        "monai_version": version("monai"),
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {"covidssl": __version__},
        "name": "covidssl",
        "task": f"{card.classes[0]} or {card.classes[1]} on lung CT",
        "description": f"A probability of {card.classes[1]} for a lung CT. {card.intended_use}",
        "authorship": "trained with covidssl",
        "copyright": card.licence_note,
        "data_type": "any CT that covidssl reads: DICOM, NIfTI, MHD, NRRD, PNG, JPG, TIFF",
        "intended_use": card.intended_use,
        "eval_metrics": card.metrics,
        **window_of(card.frame),
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "hounsfield" if hu else "magnitude",
                    "modality": "CT",
                    "num_channels": 1,
                    "spatial_shape": axes,
                    "dtype": "float32",
                    "value_range": list(levels_of(card.frame)),
                    "is_patch_data": False,
                    "channel_def": {"0": "image"},
                }
            },
            "outputs": {
                "pred": {
                    "type": "probabilities",
                    "format": "classes",
                    "num_channels": 1,
                    "spatial_shape": [1],
                    "dtype": "float32",
                    "value_range": [0, 1],
                    "is_patch_data": False,
                    "channel_def": {"0": card.classes[1]},
                }
            },
        },
    }


def _readme(card: ModelCard) -> str:
    return f"""# A probability of {card.classes[1]} for a lung CT

{card.intended_use}

The bundle needs `covidssl` {__version__} and `fire` beside MONAI. Put scans (files, or a folder
each of DICOM) into a folder, and run, in the bundle's folder:

    python -m monai.bundle run --config_file configs/inference.json --dataset_dir SCANS \\
        --output_dir OUT

`OUT/predictions.csv` has a row for every scan; one that cannot be used has its reason there.

- The network takes pixels and gives a logit and a probability for each frame: window, resize and
  calibration are in it. Reading, finding lungs and cropping are in the transform.
- `models/model.pt` is a plain state dict, read with `weights_only=True`.
- `docs/{PAGE}` is the model card, `docs/covidssl.json` says how to use the network without the
  transform.
"""
