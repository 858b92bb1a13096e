"""What a person finds on the report page."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from covidssl.errors import UsageError
from covidssl.figures import Rated, confusion_figure, reliability_figure, roc_figure
from covidssl.files import write_bytes, write_csv, write_json
from covidssl.metrics import evaluate, paired_difference
from covidssl.randomness import numpy_generator
from covidssl.report import build_report
from tests.predicted_runs import write_predictions

FINGERPRINT = "4be1c9" * 10


def record(folder: Path, verb: str, **entries: Any) -> Path:
    content = {
        "verb": verb,
        "version": "0.1.0",
        "status": "done",
        "started": "2025-11-21T09:30:00+00:00",
        "duration_s": 4321.5,
        "device": "cuda:0",
        "seed": 0,
        "git": {"commit": "0123456789abcdef0123", "dirty": False},
        "packages": {"torch": "2.13.0", "monai": "1.6.1", "noise": None},
        "data": {"luna16": FINGERPRINT},
    }
    write_json(folder / "record.json", content | entries)
    return folder


def lungs(seed: int, width: int = 96) -> bytes:
    """A PNG of two dark ellipses in a body."""
    y, x = np.mgrid[-1:1:96j, -1 : 1 : width * 1j]
    grey = np.where(x**2 + (y / 0.75) ** 2 < 0.9, 170.0, 5.0)
    grey[((np.abs(x) - 0.42) / 0.3) ** 2 + (y / 0.5) ** 2 < 1] = 40
    grey += numpy_generator(seed).normal(0, 8, grey.shape)
    content = io.BytesIO()
    Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).save(content, "png")
    return content.getvalue()


def prepare_run(folder: Path) -> Path:
    rows: list[dict[str, object]] = [
        {"scan": f"case {i:03}.nii.gz", "status": "ready", "verdict": "ok", "format": "nifti"}
        for i in range(1234)
    ]
    rows += [
        {
            "scan": f"odd/{i}.png",
            "status": "refused",
            "verdict": "no lungs were found (0.4 % of the picture)",
            "format": "picture",
        }
        for i in range(25)
    ]
    write_csv(folder / "manifest.csv", ("scan", "status", "verdict", "format", "slices"), rows)
    return record(folder, "prepare", device="cpu", summary={"slices": 894, "lung_share": 0.2312})


def preview_run(folder: Path) -> Path:
    write_bytes(folder / "preview.png", lungs(1, width=384))
    return record(folder, "preview")


def training_rows(steps: int) -> list[dict[str, object]]:
    generator = numpy_generator(3)
    return [
        {
            "step": step,
            "loss": 0.3 * np.exp(-step / 400) + 0.05 + 0.02 * generator.random(),
            "lr": 0.001,
            "images_per_second": 812.25,
        }
        for step in range(0, steps, 10)
    ]


def pretrain_run(folder: Path, steps: int = 2000) -> Path:
    rows = training_rows(steps)
    write_csv(folder / "metrics.csv", ("step", "loss", "lr", "images_per_second"), rows)
    for step in (500, 1000, 2000):
        write_bytes(folder / "pictures" / f"step-{step}.png", lungs(step, width=288))
    card = {"format": "covidssl-encoder-1", "trained_on": {"pictures": 894, "seed": 0}}
    write_json(folder / "encoder.json", card)
    return record(folder, "pretrain", summary={"last_loss": 0.0612})


def finetune_run(folder: Path) -> Path:
    rows = training_rows(1000)
    write_csv(folder / "metrics.csv", tuple(rows[0]), rows)
    validation = [
        {
            "step": step,
            "loss": 0.3 * np.exp(-step / 400) + 0.07,
            "auroc": 0.9 - 0.3 * np.exp(-step / 200),
        }
        for step in range(0, 1000, 100)
    ]
    write_csv(folder / "validation.csv", ("step", "loss", "auroc"), validation)
    write_json(
        folder / "model" / "card.json", {"classes": ["non-COVID", "COVID"], "threshold": 0.47}
    )
    splits = ["train"] * 60 + ["validation"] * 15 + ["test"] * 25
    write_csv(
        folder / "splits.csv",
        ("scan", "label", "patient", "group", "split"),
        (
            {
                "scan": f"{i}.png",
                "label": "COVID" if i % 2 else "non-COVID",
                "patient": f"Smith{i}",
                "group": f"g{i // 5}",
                "split": split,
            }
            for i, split in enumerate(splits)
        ),
    )
    return record(folder, "finetune")


def evaluate_run(folder: Path, rival_is_better: bool = False) -> Path:
    generator = numpy_generator(5)
    target = generator.integers(0, 2, 400)
    good = np.clip(0.5 + 0.3 * (target - 0.5) + 0.17 * generator.normal(size=400), 0, 1)
    poor = np.clip(0.5 + 0.1 * (target - 0.5) + 0.2 * generator.normal(size=400), 0, 1)
    model, rival = (poor, good) if rival_is_better else (good, poor)
    patients = [f"p{i // 5}" for i in range(400)]
    scores = [evaluate(target, p, 0.5, patients, numpy_generator(1), 200) for p in (model, rival)]
    difference = paired_difference(target, (model, rival), patients, numpy_generator(1))
    write_json(
        folder / "metrics.json",
        {
            "split": "test",
            "n": 400,
            "groups": 80,
            "group_kind": "patient",
            "threshold": 0.47,
            "model": scores[0].as_json(),
            "rival": scores[1].as_json(),
            "model_minus_rival": difference._asdict(),
            "warnings": ["12 scans carry no patient; each stands for itself."],
        },
    )
    rated = [Rated("model", model, scores[0].auroc), Rated("rival", rival, scores[1].auroc)]
    write_bytes(folder / "roc.png", roc_figure(target, rated, 0.47))
    write_bytes(folder / "confusion.png", confusion_figure(target, model, 0.47))
    write_bytes(folder / "reliability.png", reliability_figure(target, model))
    write_csv(folder / "predictions.csv", ("scan", "label", "probability"), [])
    return record(folder, "evaluate")


def predict_run(folder: Path, names: list[str] | None = None) -> Path:
    write_predictions(folder, names or [f"ward/scan {i:02}" for i in range(30)])
    return record(folder, "predict", device="cpu", git=None)


def comparison_run(folder: Path) -> Path:
    def interval(value: float, half: float) -> dict[str, float]:
        return {"value": value, "low": value - half, "high": value + half}

    arms = {"scratch": 0.70, "ImageNet": 0.73, "pseudo-lesion": 0.79, "trivial rival": 0.71}
    rows = [
        {
            "arm": arm,
            "fraction": fraction,
            "n_labels": round(1415 * fraction),
            "draws": 1 if fraction == 1 else 8,
            "auroc": interval(base + gain, 0.05 - gain / 4),
            "accuracy": interval(base + gain - 0.06, 0.05) if arm != "ImageNet" else None,
        }
        for arm, base in arms.items()
        for fraction, gain in ((1.0, 0.15), (0.1, 0.07), (0.02, 0.0))
    ]
    note = "Mean over draws of the labels; the same draws for every arm; blocked test split."
    content = {"title": "Does pretraining save labels?", "note": note, "rows": rows}
    write_json(folder / "comparison.json", content)
    return folder


def all_runs(root: Path) -> list[Path]:
    """One folder of each kind, given in no helpful order."""
    return [
        predict_run(root / "ward-predictions"),
        evaluate_run(root / "sars-test"),
        finetune_run(root / "sars-finetune"),
        pretrain_run(root / "luna-pretrain"),
        preview_run(root / "lesions"),
        prepare_run(root / "luna-store"),
        comparison_run(root / "label-efficiency"),
    ]


class Page(HTMLParser):
    """What a browser would find: tags with their attributes, and the text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def page_of(tmp_path: Path, *runs: Path) -> Page:
    build_report(runs, tmp_path / "report.html")
    return Page(tmp_path / "report.html")


@pytest.fixture(scope="module")
def whole_page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    root = tmp_path_factory.mktemp("runs")
    return page_of(root, *all_runs(root))


def test_sections_follow_the_order_of_the_work(whole_page: Page) -> None:
    places = [
        whole_page.source.index(f"<h2>{title}")
        for title in (
            "Does pretraining save labels?",
            "Data",
            "Pseudo-lesions",
            "Pretraining",
            "Fine-tuning",
            "Evaluation",
            "Prediction",
            "Provenance",
        )
    ]
    assert places == sorted(places)


def test_page_asks_nothing_of_the_network(whole_page: Page) -> None:
    assert whole_page.count("link") == 0
    addresses = [a[key] or "" for _, a in whole_page.tags for key in ("src", "href") if key in a]
    assert addresses
    assert all(re.match("#|data:image/(png|webp);base64,", address) for address in addresses)
    assert "@import" not in whole_page.source
    assert "url(" not in whole_page.source


def test_only_the_pages_own_style_and_script_are_obeyed(whole_page: Page) -> None:
    policy = next(
        a["content"] for _, a in whole_page.tags if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        for text in re.findall(f"<{tag}>(.*?)</{tag}>", whole_page.source, re.DOTALL):
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in policy
    assert whole_page.count("script") == 1
    assert not any("style" in attributes for _, attributes in whole_page.tags)
    assert not any(key.startswith("on") for _, a in whole_page.tags for key in a)


def test_every_link_has_its_place_and_no_two_places_one_name(whole_page: Page) -> None:
    targets = {a["href"] for tag, a in whole_page.tags if tag == "a"}
    places = [f"#{a['id']}" for _, a in whole_page.tags if "id" in a]
    assert targets <= set(places)
    assert len(places) == len(set(places))
    sections = {f"#{a['id']}" for tag, a in whole_page.tags if tag == "section"}
    assert sections <= targets


def test_page_is_dressed_for_light_dark_and_paper(whole_page: Page) -> None:
    assert "prefers-color-scheme: dark" in whole_page.source
    assert "@media print" in whole_page.source


def test_page_says_that_it_is_for_research_alone(whole_page: Page) -> None:
    assert "Intended use: research only. covidssl is not a diagnostic device" in whole_page.text


def test_scores_stand_with_their_intervals(whole_page: Page) -> None:
    cell = r'<span class="value">0\.\d{3}</span> <span class="interval">0\.\d{3}&thinsp;–&thinsp;'
    # Eleven scores of the model and eleven of the rival, twelve arms by AUROC, nine by accuracy.
    assert len(re.findall(cell, whole_page.source)) == 11 + 11 + 12 + 9


def test_evaluation_tells_split_groups_and_warnings(whole_page: Page) -> None:
    for words in ("groups resampled 80", "operating point 0.47", "12 scans carry no patient"):
        assert words in whole_page.text


def test_rival_that_is_no_worse_is_pointed_out(tmp_path: Path) -> None:
    page = page_of(tmp_path, evaluate_run(tmp_path / "run", rival_is_better=True))
    assert "shows nothing beyond brightness and outline" in page.text


def test_rival_that_is_beaten_is_told(whole_page: Page) -> None:
    assert "minus that of the trivial rival" in whole_page.text
    assert "): the model is better." in whole_page.text


def test_manifest_is_counted_and_twenty_odd_scans_shown(whole_page: Page) -> None:
    assert "ready 1 234" in whole_page.text
    assert "refused 25" in whole_page.text
    assert whole_page.text.count("no lungs were found") == 20
    assert "5 more rows are in the run folder" in whole_page.text


def test_first_and_last_picture_of_pretraining_are_shown(whole_page: Page) -> None:
    assert "The pretext at first (step-500)" in whole_page.text
    assert "The pretext at last (step-2000)" in whole_page.text
    assert "step-1000" not in whole_page.text


def test_splits_are_counted_by_label_and_no_patient_is_named(whole_page: Page) -> None:
    assert re.search(r"train 30 30 12 ", whole_page.text)
    assert "Smith" not in whole_page.source


def test_what_summary_and_products_both_say_is_said_once(tmp_path: Path) -> None:
    run = predict_run(tmp_path / "predict")
    record(run, "predict", summary={"scans": 30, "ok": 21, "failed": 3})
    scored = record(
        evaluate_run(tmp_path / "evaluate"), "evaluate", summary={"auroc": "0.5 (0 to 1)"}
    )
    page = page_of(tmp_path, run, scored)
    assert page.text.count("scans 30") == 1
    assert "0.5 (0 to 1)" not in page.text


def test_provenance_follows_each_run(whole_page: Page) -> None:
    assert "luna-pretrain pretrain 0.1.0 2025-11-21 09:30 1 h 12 min cuda:0 0 0123456789" in (
        whole_page.text
    )
    assert FINGERPRINT in whole_page.text
    assert "torch 2.13.0" in whole_page.text


def test_comparison_lists_arms_by_share_of_labels(whole_page: Page) -> None:
    places = [whole_page.text.index(words) for words in ("2 % 28 8 scratch", "10 % 142 8 scratch")]
    assert places == sorted(places)
    assert "all 1 415 1 trivial rival" in whole_page.text


def test_names_from_outside_cannot_become_markup(tmp_path: Path) -> None:
    hostile = '<script>alert("x")</script>'
    run = predict_run(tmp_path / "run", [hostile, '" onerror="alert(1)'])
    record(run, "predict", summary={hostile: hostile}, data={hostile: hostile})
    page = page_of(tmp_path, run)
    assert page.count("script") == 1
    assert not any("onerror" in attributes for _, attributes in page.tags)
    assert hostile in page.text


def test_run_that_goes_on_is_marked_as_unfinished(tmp_path: Path) -> None:
    run = pretrain_run(tmp_path / "run", steps=30)
    record(run, "pretrain", status="running", duration_s=None)
    page = page_of(tmp_path, run)
    assert "Unfinished: this run had not ended when this page was built" in page.text


def test_run_that_failed_is_marked_as_unfinished(tmp_path: Path) -> None:
    run = record(prepare_run(tmp_path / "run"), "prepare", status="failed")
    assert "Unfinished: this run failed. Its numbers are not final." in page_of(tmp_path, run).text


def _remove(name: str) -> Callable[[Path], None]:
    return lambda run: (run / name).unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_remove("roc.png"), "Incomplete: roc.png is missing"),
        (_remove("metrics.json"), "Incomplete: metrics.json is missing"),
        (
            lambda run: write_bytes(run / "metrics.json", b'{"split": '),
            "metrics.json cannot be read",
        ),
        (lambda run: write_json(run / "metrics.json", {"split": "test"}), "metrics.json: n: Field"),
        (lambda run: write_bytes(run / "roc.png", b"GIF89a"), "roc.png is no PNG"),
    ],
)
def test_broken_product_is_named_and_the_rest_shown(
    tmp_path: Path, damage: Callable[[Path], None], words: str
) -> None:
    run = evaluate_run(tmp_path / "run")
    damage(run)
    page = page_of(tmp_path, run)
    assert words in page.text
    assert "incomplete" in page.text
    assert "Provenance" in page.text


def test_metrics_without_a_step_or_with_a_broken_row_do_not_stop_the_page(tmp_path: Path) -> None:
    empty, cut = pretrain_run(tmp_path / "empty"), pretrain_run(tmp_path / "cut")
    write_bytes(empty / "metrics.csv", b"step,loss\n")
    write_bytes(cut / "metrics.csv", b"step,loss\n0,0.5\n10,nan\n20,0.4\n30,")
    page = page_of(tmp_path, empty, cut)
    assert "Incomplete: metrics.csv holds no step yet" in page.text
    assert "steps 20" in page.text


def test_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    runs = [prepare_run(tmp_path / parent / "store") for parent in ("a", "b")]
    text = page_of(tmp_path, *runs).text
    assert "a/store" in text
    assert "b/store" in text


def test_folder_given_twice_is_shown_once(tmp_path: Path) -> None:
    run = prepare_run(tmp_path / "run")
    assert page_of(tmp_path, run, tmp_path / "." / "run").source.count("<h2>Data") == 1


def test_same_runs_give_the_same_page(tmp_path: Path) -> None:
    runs = [comparison_run(tmp_path / "compare"), pretrain_run(tmp_path / "run")]
    assert page_of(tmp_path, *runs).source == page_of(tmp_path, *runs).source


def test_path_of_the_machine_is_not_on_the_page(tmp_path: Path) -> None:
    assert str(tmp_path) not in page_of(tmp_path, prepare_run(tmp_path / "run")).source


def test_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is not a run folder: it holds no record\.json"):
        build_report([tmp_path], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("content", [b"{", b'{"verb": "paint", "status": "done"}', b"[]"])
def test_record_that_is_broken_is_refused(tmp_path: Path, content: bytes) -> None:
    write_bytes(tmp_path / "run" / "record.json", content)
    with pytest.raises(UsageError, match=r"not a run folder that can be reported: record\.json"):
        build_report([tmp_path / "run"], tmp_path / "report.html")


@pytest.mark.parametrize(
    ("entries", "named"),
    [
        ({"git": {"commit": 5}}, "git.commit: Input should be a valid string"),
        ({"git": "main"}, "git: Input should be"),
        ({"summary": {"a": json.loads("[" * 400 + "]" * 400)}}, "too deeply"),
        ({"data": {"a": json.loads("[" * 400 + "]" * 400)}}, "too deeply"),
    ],
)
def test_record_of_odd_types_is_refused(
    tmp_path: Path, entries: dict[str, Any], named: str
) -> None:
    run = record(prepare_run(tmp_path / "run"), "prepare", **entries)
    with pytest.raises(UsageError, match=named):
        build_report([run], tmp_path / "report.html")


def test_record_that_is_a_link_is_refused(tmp_path: Path) -> None:
    run = prepare_run(tmp_path / "run")
    (run / "record.json").rename(tmp_path / "elsewhere.json")
    (run / "record.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(UsageError, match="is a link or no plain file"):
        build_report([run], tmp_path / "report.html")


def _piped(path: Path) -> None:
    os.mkfifo(path)


def _linked(path: Path) -> None:
    write_bytes(path.parents[1] / "elsewhere", b"\x89PNG")
    path.symlink_to(path.parents[1] / "elsewhere")


def _heavy(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(120_000_000)


@pytest.mark.parametrize("put", [_piped, _linked, _heavy])
@pytest.mark.parametrize("name", ["metrics.json", "roc.png"])
def test_what_is_no_plain_file_or_too_large_is_named(
    tmp_path: Path, name: str, put: Callable[[Path], None]
) -> None:
    run = evaluate_run(tmp_path / "run")
    (run / name).unlink()
    put(run / name)
    text = page_of(tmp_path, run).text
    assert re.search(f"Incomplete: {name} is (a link or no plain file|larger than)", text)


def test_interval_is_said_where_intervals_stand(tmp_path: Path, whole_page: Page) -> None:
    said = "A range after a number is its 95\u00a0% interval"
    text = page_of(tmp_path, prepare_run(tmp_path / "a"), predict_run(tmp_path / "b")).source
    assert said.replace("\u00a0", "&nbsp;") not in text
    # The comparison and the evaluation.
    assert whole_page.source.count(said.replace("\u00a0", "&nbsp;")) == 2


def test_broken_comparison_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "run" / "comparison.json", {"title": "nothing", "rows": []})
    with pytest.raises(UsageError, match=r"comparison\.json: rows"):
        build_report([tmp_path / "run"], tmp_path / "report.html")


def test_report_about_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least one run folder"):
        build_report([], tmp_path / "report.html")


def test_folder_as_output_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name the HTML file"):
        build_report([prepare_run(tmp_path / "run")], tmp_path)
