"""The whole journey, from CT to a report: pretrained against from scratch against a trivial rival.

    make demo                        phantom CT from code, no data needed
    make demo DIM=3                  the same with networks of volumes
    make demo DATA=../shared/data    real CT: LUNA16 slices, SARS-CoV-2 CT, LIDC, NLST, MedSeg

Stopped and started again, it goes on where it was.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

from covidssl.commands import (
    audit,
    evaluate,
    finetune,
    predict,
    prepare,
    pretrain,
    preview,
    report,
)
from covidssl.comparison import Arm, Scored, compare, difference, read_scored
from covidssl.config import load_config
from covidssl.experiments import (
    AuditConfig,
    EvaluateConfig,
    FinetuneConfig,
    PredictConfig,
    PrepareConfig,
    PretrainConfig,
    PreviewConfig,
)
from covidssl.files import read_csv, write_json
from covidssl.finetuning import Places
from covidssl.model import load_model
from pipelines.journeys import Journey, phantom_journey, real_journey, volume_journey

ARMS = {"pretrained": "pretrained", "scratch": "from scratch"}
# Each arm's own, from the few trials on the validation blocks that LOG.md lists.
RATES = {"pretrained": 1e-4, "scratch": 1e-3}
RIVAL = "trivial rival"


def main(
    out: Annotated[Path, typer.Option(help="Folder of all runs.")] = Path("work/demo"),
    data: Annotated[Path | None, typer.Option(help="Folder of real CT.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    dim: Annotated[int, typer.Option(min=2, max=3, help="2: slices. 3: volumes.")] = 2,
) -> None:
    """Run the journey, and print the report's path and a table."""
    began = time.monotonic()
    if data and dim == 3:
        raise typer.BadParameter("the labelled CT in that folder are single slices: --dim 2 only.")
    out.mkdir(parents=True, exist_ok=True)
    journey = real_journey(data) if data else (phantom_journey, volume_journey)[dim - 2](out)
    store, encoder = out / "store", out / "pretrain"

    prepare.main(PrepareConfig(), [journey.unlabelled], store, "resume")
    look = load_config(PreviewConfig, None, journey.preview)
    preview.main(look, store, out / "preview", "resume")
    plan = load_config(PretrainConfig, journey.configs / "pretrain.yaml", journey.pretrain)
    pretrain.main(plan, store, encoder, "resume", device=device)

    # What the labels give away is known before anything learns from them.
    beside = audit.Beside(cache=out / "cache")
    audit.main(AuditConfig(), journey.labelled, out / "audit", "resume", beside)
    few, scored = hold_against_each_other(journey, out, journey.few, journey.draws, device)
    everything, _ = hold_against_each_other(journey, out, 1.0, 1, device)
    arms = [*few, *everything]

    best = out / "finetune-pretrained-100pc-draw0"
    predict.main(PredictConfig(), best, journey.to_predict, out / "predict", "resume",
                 predict.How(device))  # fmt: skip
    rows = compare(arms, scored, seed=0)
    comparison = {
        "title": "Pretrained against from scratch",
        "note": _note(arms, scored, journey),
        "rows": rows,
    }
    write_json(out / "comparison" / "comparison.json", comparison)
    names = [f"{arm}-{_percent(share)}-draw0" for share in (journey.few, 1.0) for arm in ARMS]
    folders = [out / "comparison", store, out / "audit", out / "preview", encoder]
    folders += [out / f"finetune-{name}" for name in names if name.startswith("pretrained")]
    folders += [out / f"evaluate-{name}" for name in names]
    page = report.main([*folders, out / "predict"], out / "report.html", overwrite=True)

    _print(rows, arms, scored, out)
    minutes = (time.monotonic() - began) / 60
    Console().print(f"\n{minutes:.1f} minutes. Report: {page}", soft_wrap=True, highlight=False)


def hold_against_each_other(
    journey: Journey, out: Path, fraction: float, draws: int, device: str
) -> tuple[list[Arm], Scored]:
    """Fine-tune and evaluate both arms on the same draws of labels, the rival beside them.

    Gives the arms, and the last evaluation: its scans are those of all.
    """
    found: dict[str, list[tuple[Scored, int]]] = {arm: [] for arm in ARMS}
    for draw in range(draws):
        labels = [f"split.label_fraction={fraction}", f"split.label_draw={draw}"]
        for arm, rate in RATES.items():
            settings = load_config(
                FinetuneConfig,
                journey.configs / "finetune.yaml",
                [*journey.finetune, *labels, f"training.learning_rate={rate}"],
            )
            name = f"{arm}-{_percent(fraction)}-draw{draw}"
            tuned, judged, cache = out / f"finetune-{name}", out / f"evaluate-{name}", out / "cache"
            start = out / "pretrain" if arm == "pretrained" else None
            places = Places(tuned, start, None, cache, device)
            finetune.main(settings, journey.labelled, places, "resume")
            evaluate.main(
                # What else tells the class is asked once, of the models of all labels.
                EvaluateConfig(views=fraction == 1.0),
                tuned,
                journey.labelled,
                judged,
                "resume",
                evaluate.Beside(cache, device),
            )
            scored = read_scored(judged, load_model(tuned).card.operating_point)
            found[arm].append((scored, _labels(tuned)))
    return _arms(fraction, found), found["scratch"][-1][0]


def _labels(tuned: Path) -> int:
    splits = [row["split"] for row in read_csv(tuned / "splits.csv")]
    return splits.count("train") + splits.count("validation")


def _arms(fraction: float, found: dict[str, list[tuple[Scored, int]]]) -> list[Arm]:
    arms = []
    for arm, name in ARMS.items():
        labels = round(sum(count for _, count in found[arm]) / len(found[arm]))
        parts = [(one.model, one.threshold) for one, _ in found[arm]]
        arms.append(Arm(name, fraction, labels, parts, found[arm][0][0].leakage))
    rival = [(one.rival, 0.5) for one, _ in found["pretrained"] if one.rival is not None]
    return [*arms, Arm(RIVAL, fraction, arms[0].n_labels, rival)]


def _differences(arms: Sequence[Arm], scored: Scored) -> list[str]:
    lines = []
    for pretrained, other in zip(arms[::3], arms[1::3], strict=True):
        gain = difference(pretrained, other, scored, seed=0)
        lines.append(
            f"{pretrained.fraction:.0%} of the labels: AUROC pretrained minus from scratch "
            f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
        )
    return lines


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.0f}pc"


def _note(arms: Sequence[Arm], scored: Scored, journey: Journey) -> str:
    rival = "The trivial rival is boosted trees on a 12 x 12 thumbnail and a histogram."
    few, draws = f"{journey.few:.0%}".replace("%", " %"), journey.draws
    mean = f"With {few} of the labels: the mean over {draws} draws. " if draws > 1 else ""
    return f"{journey.data} {rival} {mean}{'; '.join(_differences(arms, scored))}."


def _print(rows: Sequence[dict[str, Any]], arms: Sequence[Arm], scored: Scored, out: Path) -> None:
    table = Table("labels", "n", "draws", "arm", "AUROC (95 %)", "accuracy (95 %)")
    for row in rows:
        cells = [
            f"{e['value']:.3f} ({e['low']:.3f} to {e['high']:.3f})"
            for e in (row["auroc"], row["accuracy"])
        ]
        table.add_row(
            f"{row['fraction']:.0%}",
            str(row["n_labels"]),
            str(row["draws"]),
            str(row["arm"]),
            *cells,
        )
    console = Console(width=110)
    console.print(table)
    for line in _differences(arms, scored):
        console.print(line, highlight=False)
    console.print("\nPredictions:", highlight=False)
    for row in read_csv(out / "predict" / "predictions.csv")[:12]:
        said = f"{row['label']} {row['probability']}" if row["label"] else row["reasons"]
        lesion = f", lesion {row['lesion_percent']} %" if row["lesion_percent"] else ""
        console.print(f"  {row['outcome']:9} {row['scan'][:60]}: {said}{lesion}", highlight=False)


if __name__ == "__main__":
    handler = RichHandler(console=Console(stderr=True), show_path=False, log_time_format="%H:%M:%S")
    logging.getLogger("covidssl").addHandler(handler)
    logging.getLogger("covidssl").setLevel(logging.INFO)
    typer.run(main)
