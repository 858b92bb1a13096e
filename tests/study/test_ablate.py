"""One factor at a time: every choice is another pretraining, and tables say what it was worth."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from covidssl.config import dump_config
from covidssl.experiments import PretrainConfig
from covidssl.hounsfield import LUNG_WINDOW_HU
from covidssl.lesions import LesionRanges
from covidssl.pretext import CleanSlices, PerlinPretext, Setting, corrupt
from covidssl.training import Share
from pipelines import ablate
from pipelines.study.choices import (
    AS_EVER,
    CHOICES,
    DEFAULT,
    FACTORS,
    STEPS,
    UNTRAINED,
    Choice,
    changed_ranges,
    default_values,
    set_to,
)
from pipelines.study.grid import cells_of
from pipelines.study.pretraining import store_folder
from pipelines.study.records import Cell, write_images, write_record
from pipelines.study.scores import LIMITS
from pipelines.study.targets import Targets
from tests.study.made_records import made_cells, made_facts, made_images

CHANGED = [choice for choice in CHOICES if choice.name not in (DEFAULT, UNTRAINED)]


@pytest.mark.parametrize("choice", CHANGED, ids=lambda choice: choice.name)
def test_a_choice_differs_from_the_default_in_its_own_keys_alone(choice: Choice) -> None:
    ours, default = (one.config().model_dump(mode="json") for one in (choice, AS_EVER))
    for key in choice.keys:
        *path, last = key.split(".")
        there, here = ours, default
        for part in path:
            there, here = there[part], here[part]
        assert there[last] != here[last], f"{key} is what the default has already"
        there[last] = here[last]
    assert ours == default
    assert choice.factor in FACTORS
    assert set(default_values(choice)) == set(choice.keys)


def test_all_choices_learn_for_as_many_steps_and_in_folders_of_their_own(tmp_path: Path) -> None:
    taught = [choice for choice in CHOICES if choice.name != UNTRAINED]
    assert {choice.config().training.steps for choice in taught} == {STEPS}
    runs = [choice.run(tmp_path, seed) for choice in CHOICES for seed in choice.seeds]
    assert len(set(runs)) == len(runs) == len(CHOICES) + 2


def test_what_has_learnt_nothing_is_that_of_the_paper_s_table(tmp_path: Path) -> None:
    untrained = next(choice for choice in CHOICES if choice.name == UNTRAINED)
    assert not untrained.config().pretext.teaches
    assert untrained.run(tmp_path).name == "none-luna16-seed-0"


def test_the_plan_names_every_choice_and_fits_two_hours_on_two_cores(tmp_path: Path) -> None:
    stages = ablate.stages(tmp_path, tmp_path, tmp_path)
    assert len({stage.name for stage in stages}) == len(CHOICES)
    assert sum(stage.minutes for stage in stages) <= 2 * 120
    assert max(stage.minutes for stage in stages) < 120
    assert all("no encoder" in stage.left() for stage in stages)


def test_unconfined_lesions_lie_outside_the_lungs_too() -> None:
    frames = torch.full((4, 1, 64, 64), 6000)
    lungs = torch.zeros((4, 1, 64, 64), dtype=torch.bool)
    lungs[..., 20:44, 12:30] = True
    clean = CleanSlices(frames.to(torch.uint16), lungs, torch.full((4, 2), 5.0))
    ranges = LesionRanges(clean_share=0, foci=(6, 6), swallow_mm=(0, 0))
    drawn = {}
    for confined in (True, False):
        plan = PerlinPretext(lesions=ranges, confined=confined)
        share = Share(0, 0, 4)
        drawn[confined] = corrupt(clean, plan, Setting(LUNG_WINDOW_HU, 5, 0), share)[0].lesion
    far = torch.ones(64, dtype=torch.bool)
    far[2:62] = False
    assert drawn[True][..., :, far].sum() == 0
    assert drawn[False][..., :, far].sum() > 0


def records_of(folder: Path, shifts: dict[str, float]) -> Path:
    images = made_images(12, 4)
    write_images(folder, "covid-ct", "blocked", images)
    for number, (name, shift) in enumerate(shifts.items()):
        choice = next(one for one in CHOICES if one.name == name)
        cells: list[Cell] = []
        for seed in choice.seeds:
            cells += cells_of("probe", draws=2, seed=seed)
        facts = made_facts(name, "covid-ct")
        settings = {"factor": choice.factor, "set to": name, "default": "as ever"}
        facts = facts.model_copy(update={"settings": settings})
        made = made_cells(images, shift, seed=number, cells=cells)
        write_record(folder / ablate.STUDY, facts, made)
    return folder


def test_tables_say_the_yardstick_and_what_each_choice_was_worth(tmp_path: Path) -> None:
    assert ablate.yardstick_table(tmp_path) == ablate.choices_table(tmp_path) == ""
    records = records_of(tmp_path, {DEFAULT: 2.5, UNTRAINED: 0.5, "small": 2.5, "faint": 0.2})
    yardstick = ablate.yardstick_table(records)
    rows = [line for line in yardstick.splitlines() if line.startswith("| COVID-CT")]
    assert len(rows) == 2
    low, high = rows[0].split(" | ")[3].split(" to ")
    assert 0.5 < float(low) < float(high) < 1
    choices = ablate.choices_table(records)
    assert choices.endswith(LIMITS)
    faint, small = (
        next(line.split(" | ") for line in choices.splitlines() if f" {name} |" in line)
        for name in ("faint", "small")
    )
    assert float(faint[5].split()[0]) < -0.1 < float(small[5].split()[0])
    assert float(faint[6].removeprefix("< ")) < 0.05
    assert float(small[7].split()[0]) > 0.1
    assert [faint[0], small[0]] == ["| opacity and blending", "| size of lesions"]


def test_a_preset_names_every_range_that_it_changes() -> None:
    choice = next(one for one in CHOICES if one.name == "preset-paper")
    ours, default = (one.config().pretext.model_dump()["lesions"] for one in (choice, AS_EVER))
    changed = {key for key in default if ours[key] != default[key]}
    assert set(changed_ranges("paper")) == changed
    assert all(key in set_to(choice.keys) for key in changed)
    held = str(default_values(choice)["pretext.lesions"])
    assert held.startswith("covid with dense_contrast_hu 0 to 110")


def test_a_run_of_other_settings_is_pretrained_again_before_it_is_asked(tmp_path: Path) -> None:
    choice = next(one for one in CHOICES if one.name == "faint")
    study, run = tmp_path / ablate.STUDY, choice.run(tmp_path)
    store = store_folder(tmp_path)

    def ended(config: PretrainConfig, of: str = "a") -> str:
        run.mkdir(parents=True, exist_ok=True)
        (run / "config.yaml").write_text(dump_config(config), encoding="utf-8")
        store.mkdir(exist_ok=True)
        (store / "store.json").write_text('{"fingerprint": "a"}', encoding="utf-8")
        done = {"status": "done", "data": {"store": of}}
        (run / "record.json").write_text(json.dumps(done), encoding="utf-8")
        (run / "encoder.json").write_text('{"sha256": "one"}', encoding="utf-8")
        unread = Targets(tmp_path, tmp_path, reads_sets=False)
        return ablate.choice_left(choice, tmp_path, study, unread)

    for question in ablate.questions(choice):
        facts = made_facts(choice.name, question.set_name).model_copy(
            update={
                "sources": {"encoder of seed 0": "one"},
                "settings": ablate.settings(choice, tmp_path),
            }
        )
        write_record(study, facts, {})
    today = choice.config()
    assert ended(today) == ""
    other = today.model_copy(
        update={"training": today.training.model_copy(update={"learning_rate": 0.5})}
    )
    assert "made otherwise: training.learning_rate" in ended(other)
    assert "its data are others" in ended(today, of="b")
    # A record of other settings is asked again, though its encoder stands.
    gone = facts.model_copy(update={"settings": {**facts.settings, "folds": 4}})
    write_record(study, gone, {})
    assert "folds is set otherwise" in ended(today)


def test_what_was_chosen_is_told_by_key_and_value() -> None:
    choice = next(one for one in CHOICES if one.name == "one-octave")
    stages = ablate.stages(Path("data"), Path("runs"), Path("records"))
    stage = next(one for one in stages if one.name == "ablate-noise-one-octave")
    assert stage.what == "the noise: octaves 1"
    assert set_to({"pretext.lesions.octaves": [1, 3]}) == "octaves 1 to 3"
    assert choice.keys == {"pretext.lesions.octaves": [1, 1]}
