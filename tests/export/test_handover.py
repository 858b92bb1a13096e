"""The code in docs/handover.md does what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from covidssl.frames import Frame
from covidssl.networks.encoder import build_encoder
from covidssl.networks.plan import EncoderPlan
from covidssl.weights import EncoderCard, Origin, save_encoder_file

PAGE = Path(__file__).parents[2] / "docs" / "handover.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def write_run(folder: Path, plan: EncoderPlan) -> None:
    encoder = build_encoder(plan)
    card = EncoderCard(
        holds="encoder",
        encoder=plan,
        frame=Frame(size=32) if plan.kind == "unet" else None,
        trained_on=Origin(data_fingerprint="none", pictures=0, steps=0, seed=0),
        metrics={},
        sha256="",
    )
    save_encoder_file(folder / "encoder.safetensors", encoder, encoder.state_dict(), card)


@pytest.mark.parametrize(
    "plan",
    [EncoderPlan(channels=(8, 8, 16), groups=4), EncoderPlan(kind="resnet18", norm="batch")],
    ids=["unet", "resnet18"],
)
def test_every_example_on_the_page_runs(
    plan: EncoderPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "runs" / "pretrain", plan)
    monkeypatch.chdir(tmp_path)
    assert len(BLOCKS) == 6
    names: dict[str, object] = {"__name__": "handover"}
    for block in BLOCKS:
        exec(compile(block, PAGE.name, "exec"), names)  # noqa: S102 (our own page)
    assert {"Segmenter", "EncoderForNnUNet", "optimizer"} <= names.keys()
