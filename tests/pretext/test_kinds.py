"""Every pretext: it learns, its draws are keyed, and its encoder is handed on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from covidssl.commands import finetune, prepare, pretrain, report
from covidssl.config import load_config
from covidssl.errors import UsageError
from covidssl.experiments import FinetuneConfig, PrepareConfig, PretrainConfig
from covidssl.files import read_csv, write_csv
from covidssl.finetuning import Places
from covidssl.io import write_volume
from covidssl.networks.encoder import build_encoder
from covidssl.networks.plan import EncoderPlan
from covidssl.phantom import phantom_chest
from covidssl.pretext import CleanSlices, Pretext, PretextPlan
from covidssl.pretraining import must_have_pictures, must_have_whole_batches
from covidssl.randomness import initial_weights
from covidssl.starting import start_from
from covidssl.training import Share, TrainingPlan
from covidssl.weights import load_encoder, load_restoration, save_encoder_file
from tests.pretext.pictures import SETTING, network_of, slices, state_of, teach, volumes

TAUGHT: dict[str, dict[str, Any]] = {
    "perlin": {},
    "models_genesis": {},
    "mae": {"mask_patch": 8},
    "rotation": {},
    "simclr": {"features": 16},
    "moco": {"features": 16, "queue": 24, "momentum": 0.99},
}
# Two dozen pictures are alike but for their window: views that move them too take longer to match.
EASY = {"augment": {"zoom": (1, 1), "shift": 0, "rotation_degrees": 0, "flip": 0}}
LEARNT = {"simclr": EASY | {"temperature": 0.1}, "moco": EASY | {"temperature": 0.07}}
FEW = {"moco": {"queue": 4}}  # shorter than the pictures of the store
RESTORING = ("perlin", "models_genesis", "mae")
CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def pretext_of(kind: str, **more: Any) -> Pretext:
    adapter: TypeAdapter[Pretext] = TypeAdapter(PretextPlan)
    return adapter.validate_python({"kind": kind, **TAUGHT.get(kind, {}), **more})


@pytest.mark.parametrize("kind", TAUGHT)
def test_it_learns(kind: str) -> None:
    rate = 3e-3 if kind in LEARNT else 1e-2
    plan = TrainingPlan(steps=30, batch_size=12, learning_rate=rate, warmup_steps=3)
    pretext = pretext_of(kind, **LEARNT.get(kind, {}))
    losses = [report.loss for report in teach(pretext, plan, state_of(pretext, rate))]
    # MoCo's first queue is noise, which is told from a picture at once: it is full after two steps.
    assert sum(losses[-5:]) < 0.9 * sum(losses[3:8]), losses


HIDING = {"augment": {"ranked": 1, "blanked": 1}}


@pytest.mark.parametrize("of", [slices, volumes], ids=["slices", "volumes"])
@pytest.mark.parametrize("kind", RESTORING)
def test_nothing_outside_the_lungs_is_seen_where_it_is_blanked(kind: str, of: Any) -> None:
    """What is restored is asked: Models Genesis paints noise over it, and masks are filled."""
    shown = pretext_of(kind, **HIDING).task(SETTING).examples(of(3), Share(0, 0, 3)).clean
    black = (shown == 0).float().mean()
    plain = pretext_of(kind).task(SETTING).examples(of(3), Share(0, 0, 3)).clean
    assert black > 0.4 > (plain == 0).float().mean()
    assert shown.max() > 0.4


@pytest.mark.parametrize("of", [slices, volumes], ids=["slices", "volumes"])
@pytest.mark.parametrize("kind", TAUGHT)
def test_a_share_of_a_batch_gets_the_draws_that_it_has_in_the_whole(kind: str, of: Any) -> None:
    """So that a batch is the same on any number of processes."""
    task, given = pretext_of(kind).task(SETTING), of(3)
    whole = task.examples(given, Share(5, 0, 3))
    first, last = (
        task.examples(CleanSlices(*(part[rows] for part in given)), Share(5, rows.start, n))
        for rows, n in ((slice(0, 1), 1), (slice(1, 3), 2))
    )
    for all_, one, two in zip(whole, first, last, strict=True):
        assert torch.allclose(all_, torch.cat([one, two]), atol=1e-6)


@pytest.mark.parametrize("kind", TAUGHT)
def test_a_batch_depends_on_its_seed_and_step_alone(kind: str) -> None:
    def made(seed: int, step: int) -> torch.Tensor:
        task = pretext_of(kind).task(SETTING._replace(seed=seed))
        return task.examples(slices(), Share(step, 0, 4))[0]

    assert torch.equal(made(1, 2), made(1, 2))
    assert not torch.equal(made(1, 2), made(1, 3))
    assert not torch.equal(made(1, 2), made(2, 2))


@pytest.mark.parametrize("kind", TAUGHT)
def test_clean_pictures_are_not_written_into(kind: str) -> None:
    given = slices()
    copies = [part.clone() for part in given]
    pretext_of(kind).task(SETTING).examples(given, Share(0, 0, 4))
    assert all(torch.equal(a, b) for a, b in zip(given, copies, strict=True))


@pytest.mark.parametrize("kind", TAUGHT)
def test_it_learns_from_patches_of_volumes(kind: str) -> None:
    pretext = pretext_of(kind, patch=(8, 16, 16))
    network = network_of(pretext, EncoderPlan(dimensions=3, channels=(8, 8, 16)))
    task = pretext.task(SETTING)
    examples = task.examples(volumes(2), Share(0, 0, 2))
    assert examples[0].shape == (2, 1, 8, 16, 16)
    losses = task.loss(network.train(), examples)
    assert tuple(losses.parts) == task.parts
    losses.total.backward()
    assert any(p.grad is not None and p.grad.any() for p in network.parameters())
    with torch.no_grad():
        assert all(
            shown.shape[2:] == (8, 16, 16) for shown in task.shown(network, examples).values()
        )


SMALL = ["frame.size=32", "frame.pixels=hu", "encoder.channels=[8,8,16]"]
STEPS = ["training.steps=2", "training.batch_size=4", "training.warmup_steps=1"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small store, labelled scans, and a run of every kind."""
    root = tmp_path_factory.mktemp("kinds")
    rows = []
    for k in range(12):
        scan = phantom_chest(k, k % 2 == 1, (4, 64, 64), (16.0, 5.4, 5.4)).ct
        write_volume(scan, root / "scans" / f"p{k:02d}.nii.gz")
        label = "COVID" if k % 2 else "non-COVID"
        rows.append({"path": f"p{k:02d}.nii.gz", "label": label, "patient": f"person-{k}"})
    write_csv(root / "scans" / "labels.csv", ("path", "label", "patient"), rows)
    prepare.main(PrepareConfig(), [root / "scans" / f"p{k:02d}.nii.gz" for k in (0, 2)], root / "s")
    for kind in (*TAUGHT, "none"):
        more = [f"pretext.{k}={v}" for k, v in (TAUGHT.get(kind, {}) | FEW.get(kind, {})).items()]
        sets = [*SMALL, *STEPS, f"pretext.kind={kind}", *more]
        pretrain.main(
            load_config(PretrainConfig, None, sets), root / "s", root / kind, device="cpu"
        )
    return root


@pytest.mark.parametrize("kind", TAUGHT)
def test_a_run_keeps_its_books_and_its_encoder(place: Path, kind: str) -> None:
    run = place / kind
    parts = set(pretext_of(kind).task(SETTING).parts)
    rows = read_csv(run / "metrics.csv")
    assert len(rows) == 2
    assert parts < set(rows[0])
    card = json.loads((run / "encoder.json").read_text())
    assert card["pretext"] == kind
    assert {"loss", *parts} <= set(card["metrics"])
    assert (run / "pictures" / "step-000002.png").read_bytes().startswith(b"\x89PNG")
    assert (run / "restoration.safetensors").is_file() == (kind in RESTORING)
    load_encoder(run)


def test_without_a_pretext_the_encoder_keeps_its_first_weights(place: Path) -> None:
    run = place / "none"
    encoder, card = load_encoder(run)
    with initial_weights(0):
        drawn = build_encoder(EncoderPlan(channels=(8, 8, 16)))
    for name, tensor in drawn.state_dict().items():
        assert torch.equal(tensor, encoder.state_dict()[name]), name
    assert card.trained_on.steps == 0
    assert json.loads((run / "record.json").read_text())["status"] == "done"
    assert not (run / "metrics.csv").exists()


def test_every_pretext_moves_the_encoder_away_from_its_first_weights(place: Path) -> None:
    first = load_encoder(place / "none")[0].state_dict()
    for kind in TAUGHT:
        taught = load_encoder(place / kind)[0].state_dict()
        assert any(not torch.equal(first[name], taught[name]) for name in first), kind


@pytest.mark.parametrize("kind", [*TAUGHT, "none"])
def test_only_our_own_restoration_is_taken_for_one_that_lifts_lesions_off(
    place: Path, kind: str
) -> None:
    start = start_from(place / kind, None, None, 0)
    assert (start.restoration is not None) == (kind == "perlin")


@pytest.mark.parametrize("kind", ["none", "models_genesis", "moco"])
def test_its_encoder_can_be_fine_tuned(place: Path, tmp_path: Path, kind: str) -> None:
    config = load_config(FinetuneConfig, None, [*SMALL, *STEPS, "validate_every=2"])
    places = Places(tmp_path / "run", place / kind, cache=place / "cache", device="cpu")
    finetune.main(config, place / "scans" / "labels.csv", places)
    card = json.loads((tmp_path / "run" / "model" / "card.json").read_text())
    assert card["pretrained_from"] == load_encoder(place / kind)[1].sha256
    assert not (tmp_path / "run" / "model" / "restoration.safetensors").exists()


def test_runs_of_all_kinds_stand_in_a_report(place: Path, tmp_path: Path) -> None:
    report.main([place / "rotation", place / "none"], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "is missing" not in page
    assert "The pretext at last" in page


def test_a_pretext_may_start_from_the_encoder_of_another(place: Path, tmp_path: Path) -> None:
    sets = [*SMALL, *STEPS, "training.learning_rate=1e-12", "pretext.kind=rotation"]
    config = load_config(PretrainConfig, None, sets)
    out = pretrain.main(config, place / "s", tmp_path / "on", init=place / "mae", device="cpu")
    before, after = (load_encoder(run)[0].state_dict() for run in (place / "mae", out))
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in before)


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (["pretext.kind=mea"], r"pretext\.kind: there is no 'mea'\. Did you mean 'mae'"),
        (["pretext=perlin"], r"pretext: expected keys, 'pretext\.kind' among them"),
        (["pretext.mask_ratio=0.5"], r"'pretext\.mask_ratio'\. It belongs to pretext\.kind mae"),
        (["mask_ratio=0.5"], r"Did you mean 'pretext\.mask_ratio'"),
        (["pretext.kind=mae", "pretext.mask_rato=1"], r"Did you mean 'pretext\.mask_ratio'"),
        (["pretext.kind=mae", "pretext.mask_ratio=2"], r": pretext\.mask_ratio: .*less than 1"),
        (["pretext.kind=simclr", "pretext.blur.chanc=1"], r"Did you mean 'pretext\.blur\.chance'"),
        (["pretext.loss.ssm=1"], r"Did you mean 'pretext\.loss\.ssim'"),
        (["pretext.skip_dropout=1"], r": pretext\.skip_dropout: a chance is at least 0"),
        (["pretext.skip_dropout=much"], r": pretext\.skip_dropout: .*number.*'much'"),
        (["pretext.skip_dropout=[0.1, 0.2]"], r"2 chances.*5 levels has 4 skip connections"),
        (["pretext.kind=moco", "training.accumulate=2"], r"set training\.accumulate=1"),
        (["pretext.kind=simclr", "training.batch_size=1"], r"batch_size must be at least 2"),
        (["pretext.kind=mae", "pretext.mask_patch=128"], r"mask_patch 128 hides the whole"),
        (
            ["pretext.kind=mae", "pretext.patch=[16, 16, 16]", "frame.depth=32",
             "encoder.dimensions=3"],
            r"pretext\.mask_patch 16 hides the whole of \[16, 16, 16\] pixels",
        ),
        (["pretext.kind=moco", "pretext.queue=8"], r"pretext\.queue 8 must hold .* 32 keys"),
        (["pretext.patch=[8, 16, 16]"], r"pretext\.patch is of volumes: set frame\.depth"),
        (
            ["pretext.patch=[64, 16, 16]", "frame.depth=32", "encoder.dimensions=3"],
            r"pretext\.patch \[64, 16, 16\] must be .* at most the frame \[32, 128, 128\]",
        ),
        (
            ["pretext.kind=rotation", "pretext.patch=[8, 16, 24]", "frame.depth=32",
             "encoder.dimensions=3"],
            r"must be square within a slice",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_its_key(sets: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_config(PretrainConfig, None, sets)


def test_a_pretext_that_compares_pictures_is_refused_in_several_processes() -> None:
    config = load_config(PretrainConfig, None, ["pretext.kind=moco"])
    with pytest.raises(UsageError, match=r"moco compares .* 2 processes .* use one device"):
        must_have_whole_batches(config, 2)
    must_have_whole_batches(config, 1)
    must_have_whole_batches(load_config(PretrainConfig, None), 2)


@pytest.mark.parametrize(
    ("kind", "pictures", "said"),
    [
        ("simclr", 31, r"31 pictures .* fewer than training\.batch_size 32"),
        ("moco", 256, r"pretext\.queue 256 is not shorter than the 256 pictures"),
    ],
)
def test_a_pretext_that_compares_pictures_is_refused_where_there_are_too_few(
    kind: str, pictures: int, said: str
) -> None:
    config = load_config(PretrainConfig, None, [f"pretext.kind={kind}"])
    with pytest.raises(UsageError, match=said):
        must_have_pictures(config, pictures)
    must_have_pictures(config, pictures + 1)
    must_have_pictures(load_config(PretrainConfig, None, ["pretext.kind=rotation"]), 1)


def test_a_run_on_too_few_pictures_is_refused_before_it_writes(place: Path, tmp_path: Path) -> None:
    config = load_config(PretrainConfig, None, [*SMALL, "pretext.kind=simclr"])
    with pytest.raises(UsageError, match="would tell a picture from itself"):
        pretrain.main(config, place / "s", tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_where_no_pretext_is_named_it_is_ours() -> None:
    assert load_config(PretrainConfig, None, ["pretext.skip_dropout=0.1"]).pretext.kind == "perlin"


def test_comparators_differ_from_the_demo_in_their_pretext_alone() -> None:
    ours = load_config(PretrainConfig, CONFIGS / "demo" / "pretrain.yaml")
    found = sorted((CONFIGS / "pretext").glob("pretrain_*.yaml"))
    kinds = set()
    for path in found:
        config = load_config(PretrainConfig, path)
        kinds.add(config.pretext.kind)
        assert config.model_copy(update={"pretext": ours.pretext}) == ours, path.name
    assert kinds == {*TAUGHT, "none"} - {"perlin"}


def test_terms_and_origin_of_foreign_weights_stay_with_what_is_made_of_them(
    place: Path, tmp_path: Path
) -> None:
    weights, card = load_encoder(place / "none")
    came = {"foreign": "timm unet", "licence_note": "Terms of others.", "frame": None}
    first = tmp_path / "encoder.safetensors"
    card = save_encoder_file(first, weights, weights.state_dict(), card.model_copy(update=came))
    config = load_config(PretrainConfig, None, [*SMALL, *STEPS, "training.steps=1"])
    run = pretrain.main(config, place / "s", tmp_path / "run", init=first, device="cpu")
    cards = [load_encoder(run)[1], load_restoration(run / "restoration.safetensors")[1]]
    for made in cards:
        assert (made.foreign, made.licence_note) == ("timm unet", "Terms of others.")
        assert made.pretrained_from == card.sha256
    page = (run / "encoder.md").read_text()
    assert f"It began with timm unet, SHA-256 of the weights {card.sha256}" in page
    assert load_encoder(place / "mae")[1].pretrained_from == "none"
