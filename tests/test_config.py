"""A configuration is what its YAML says, and every surprise in it is refused with its key."""

from __future__ import annotations

import shlex
from math import inf
from pathlib import Path

import pytest
from pydantic import BaseModel

from covidssl.calibration import CostPoint, SensitivityPoint, YoudenPoint
from covidssl.config import changed_keys, dump_config, load_config, overrides_to
from covidssl.errors import UsageError
from covidssl.experiments import (
    EvaluateConfig,
    FinetuneConfig,
    PredictConfig,
    PrepareConfig,
    PretrainConfig,
    PreviewConfig,
)
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels
from covidssl.yaml_text import parse_yaml, write_yaml

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
# Presets of lesions are no configuration of a verb: tests/lesions/test_presets.py loads them.
NO_EXPERIMENTS = (CONFIGS / "lesions", CONFIGS / "reproduce" / "overrides")
YAMLS = sorted(path for path in CONFIGS.rglob("*.y*ml") if path.parent not in NO_EXPERIMENTS)
MODELS: dict[str, type[BaseModel]] = {
    "prepare": PrepareConfig,
    "preview": PreviewConfig,
    "pretrain": PretrainConfig,
    "finetune": FinetuneConfig,
    "evaluate": EvaluateConfig,
    "predict": PredictConfig,
}


def verb_of(path: Path) -> str:
    """The verb that a YAML belongs to, by its folder or the beginning of its name."""
    verbs = [verb for verb in MODELS if verb == path.parent.name or path.name.startswith(verb)]
    assert verbs, f"{path}: named after no verb; begin its name with one of {', '.join(MODELS)}"
    return verbs[0]


def yaml(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_there_are_configurations() -> None:
    assert len(YAMLS) >= 2


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_every_configuration_loads_into_its_model(path: Path) -> None:
    load_config(MODELS[verb_of(path)], path)


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_first_lines_of_every_configuration_hold_its_command(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    first = lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))]
    command = f"covidssl {verb_of(path)} -c {path.relative_to(CONFIGS.parent).as_posix()}"
    assert any(command in line for line in first), f"{path.name}: lacks '{command}'"


def test_demo_arms_differ_in_their_start_alone() -> None:
    demo = CONFIGS / "demo"
    pretrain = load_config(PretrainConfig, demo / "pretrain.yaml")
    finetune = load_config(FinetuneConfig, demo / "finetune.yaml")
    assert (finetune.frame, finetune.encoder) == (pretrain.frame, pretrain.encoder)


@pytest.mark.parametrize("kind", MODELS.values(), ids=MODELS)
def test_defaults_load_without_a_file(kind: type[BaseModel]) -> None:
    assert load_config(kind, None) == kind()


@pytest.mark.parametrize(
    ("kind", "overrides"),
    [
        (PrepareConfig, ["pixels=hu", "min_lung_share=0.001"]),
        (PretrainConfig, ["training.learning_rate=1e-7", "training.gradient_clip=null"]),
        (PretrainConfig, ["frame.window_hu=[-1350, 150.5]", "encoder.channels=[8, 16]"]),
        (FinetuneConfig, ["positive_class=no", "frame.size=64"]),
        (FinetuneConfig, ["positive_class='1e3'"]),
        (FinetuneConfig, ["positive_class='007'"]),
        (FinetuneConfig, ["positive_class='true'"]),
        (FinetuneConfig, ["positive_class='null'"]),
        (FinetuneConfig, ["positive_class='a: b # c'", "split.test_blocks=[]"]),
        (EvaluateConfig, ["split=all", "rival=false"]),
    ],
)
def test_what_is_dumped_loads_as_the_same(
    kind: type[BaseModel], overrides: list[str], tmp_path: Path
) -> None:
    config = load_config(kind, None, overrides)
    assert config != kind()
    assert load_config(kind, yaml(tmp_path / "config.yaml", dump_config(config))) == config


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_every_configuration_dumps_and_loads_as_the_same(path: Path, tmp_path: Path) -> None:
    kind = MODELS[verb_of(path)]
    config = load_config(kind, path)
    assert load_config(kind, yaml(tmp_path / "config.yaml", dump_config(config))) == config


def test_a_power_of_ten_is_a_number(tmp_path: Path) -> None:
    path = yaml(tmp_path / "c.yaml", "training: {learning_rate: 1e-3, weight_decay: 2E-5}\n")
    plan = load_config(PretrainConfig, path).training
    assert (plan.learning_rate, plan.weight_decay) == (1e-3, 2e-5)


@pytest.mark.parametrize("word", ["no", "yes", "on", "off", "y", "NO"])
def test_a_word_that_old_yaml_took_for_a_switch_is_text(word: str, tmp_path: Path) -> None:
    path = yaml(tmp_path / "c.yaml", f"positive_class: {word}\n")
    assert load_config(FinetuneConfig, path).positive_class == word


@pytest.mark.parametrize("text", ["08", "010"])
def test_a_leading_zero_makes_no_octal_number(text: str) -> None:
    assert load_config(PretrainConfig, None, [f"seed={text}"]).seed == int(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10), ("-007", -7), ("+12", 12), ("0", 0), ("08", 8), ("1_000", "1_000"),
        ("2020-01-01", "2020-01-01"), ("2001-12-14 21:59:43.10 -5", "2001-12-14 21:59:43.10 -5"),
        ("12:30", "12:30"), ("=", "="), ("no", "no"), ("1e3", 1000.0), ("-.INF", -inf),
        ("0o17", "0o17"), ("0x1F", "0x1F"), ("-", [None]),
    ],
)  # fmt: skip
def test_a_scalar_is_what_yaml_1_2_takes_it_for(text: str, value: object) -> None:
    found = parse_yaml(text, "here")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["010", "2020-01-01", "=", "-.INF", ".NaN", "+1", "12:30", "1e3"])
def test_text_that_looks_like_something_else_is_read_back_as_text(text: str) -> None:
    assert parse_yaml(write_yaml({"a": text}), "here") == {"a": text}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 3000, "here: this is no YAML: it is nested too deeply"),
        ("a: 1\nb: " + "9" * 5000, r"here, line 2: .*'9{20}\.\.\.' is too long"),
        ("a: b\x07", r"here: this is no YAML: .*#x0007: special characters are not allowed"),
        ("a: !!int many", "here, line 1: .*'many' is no integer"),
        ("a: !!float many", "here: .*does not fit its tag"),
        ("a: !!bool many", "here: .*does not fit its tag"),
        ("a: !!timestamp soon", "here: .*does not fit its tag"),
    ],
    ids=["nested", "long", "control character", "int", "float", "bool", "timestamp"],
)
def test_yaml_that_cannot_be_read_is_refused_with_a_reason(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as refusal:
        parse_yaml(text, "here")
    assert len(str(refusal.value)) < 200


def test_class_called_by_a_number_is_text() -> None:
    assert load_config(FinetuneConfig, None, ["positive_class=1"]).positive_class == "1"


def test_empty_file_holds_the_defaults(tmp_path: Path) -> None:
    path = yaml(tmp_path / "c.yaml", "# nothing but a comment\n")
    assert load_config(PretrainConfig, path) == PretrainConfig()


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("sed=1", "seed"),
        ("training.step=5", "training.steps"),
        ("pretext.lesions.clean_shares=0.2", "pretext.lesions.clean_share"),
        ("frame.windows_hu=[-1000, 400]", "frame.window_hu"),
        ("trainin.steps=5", "training"),
    ],
)
def test_misspelt_key_names_its_nearest_right_one(override: str, nearest: str) -> None:
    with pytest.raises(UsageError, match=rf"unknown key '.*'\. Did you mean '{nearest}'\?"):
        load_config(PretrainConfig, None, [override])


@pytest.mark.parametrize(
    ("override", "place"),
    [
        ("steps=5", "training.steps"),
        ("size=64", "frame.size"),
        ("clean_share=0.2", "pretext.lesions.clean_share"),
        ("training.channels=[8, 16]", "encoder.channels"),
        ("pretext.learning_rate=1", "training.learning_rate"),
    ],
)
def test_misplaced_key_names_its_right_place(override: str, place: str) -> None:
    with pytest.raises(UsageError, match=f"Did you mean '{place}'"):
        load_config(PretrainConfig, None, [override])


def test_key_that_is_misspelt_and_misplaced_names_its_right_place() -> None:
    with pytest.raises(UsageError, match=r"Did you mean 'training\.learning_rate'"):
        load_config(PretrainConfig, None, ["lerning_rate=1e-3"])


def test_key_inside_a_part_that_may_be_absent_names_its_nearest_right_one() -> None:
    with pytest.raises(UsageError, match=r"Did you mean 'frame\.pixels'"):
        load_config(FinetuneConfig, None, ["frame.pixel=hu"])


def test_key_that_resembles_none_is_answered_with_those_known() -> None:
    with pytest.raises(UsageError, match=r"unknown key 'frame\.qqq'.*in 'frame': \['crop', .*size"):
        load_config(PretrainConfig, None, ["frame.qqq=1"])


def test_every_wrong_key_is_named_at_once_with_the_file(tmp_path: Path) -> None:
    path = yaml(tmp_path / "mine.yaml", "sed: 1\ntraining: {step: 2}\n")
    with pytest.raises(UsageError) as refusal:
        load_config(PretrainConfig, path)
    assert "mine.yaml: unknown key 'sed'" in str(refusal.value)
    assert "mine.yaml: unknown key 'training.step'" in str(refusal.value)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.steps=many", r"training\.steps: .*integer.*'many'"),
        ("training.steps=0", r"training\.steps: .*greater than or equal to 1.*0"),
        ("training=5", r"training: .*\(got 5\)"),
        ("frame.pixels=grey", r"frame\.pixels: .*'hu' or 'windowed'.*'grey'"),
        ("frame.window_hu=[400, -1000]", r"frame\.window_hu: .*lower to its upper end"),
        ("frame.window_hu=[-1000, .inf]", r"frame\.window_hu: .*lower to its upper end"),
        ("frame.depth=32", r"frame\.depth 32 means volumes.*encoder\.dimensions=3"),
        ("encoder.channels=[12, 24]", r"encoder: 12 channels cannot be cut into 8 groups"),
        ("training.precision=no", r"training\.precision: .*'no'"),
    ],
)
def test_value_that_does_not_fit_names_its_key(override: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_config(PretrainConfig, None, [override])


def test_frame_that_does_not_suit_the_network_is_refused_for_fine_tuning_too() -> None:
    with pytest.raises(UsageError, match=r"set encoder\.dimensions=3"):
        load_config(FinetuneConfig, None, ["frame.depth=32"])


@pytest.mark.parametrize("override", ["training.steps", "=5", "training.steps 5"])
def test_set_without_key_or_equals_is_refused(override: str) -> None:
    with pytest.raises(UsageError, match=f"--set {override}: expected key=value"):
        load_config(PretrainConfig, None, [override])


def test_set_below_a_value_is_refused() -> None:
    with pytest.raises(UsageError, match="'seed' holds a value, not further keys"):
        load_config(PretrainConfig, None, ["seed=1", "seed.x=2"])


def test_set_below_a_part_that_is_null_fills_it(tmp_path: Path) -> None:
    path = yaml(tmp_path / "c.yaml", "frame: null\n")
    frame = load_config(FinetuneConfig, path, ["frame.pixels=hu"]).frame
    assert frame is not None
    assert frame.pixels is Pixels.HU


def test_set_wins_over_the_file_and_the_last_one_wins(tmp_path: Path) -> None:
    path = yaml(tmp_path / "c.yaml", "training: {steps: 5, batch_size: 3}\n")
    plan = load_config(PretrainConfig, path, ["training.steps=6", "training.steps=7"]).training
    assert (plan.steps, plan.batch_size) == (7, 3)


def test_value_may_hold_an_equals_sign() -> None:
    assert load_config(FinetuneConfig, None, ["positive_class=a=b"]).positive_class == "a=b"


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.yaml: there is no such configuration file"):
        load_config(PretrainConfig, tmp_path / "nowhere.yaml")


def test_what_is_no_yaml_is_refused_with_its_line(tmp_path: Path) -> None:
    path = yaml(tmp_path / "c.yaml", "seed: 0\ntraining: [1, 2\n")
    with pytest.raises(UsageError, match=r"c\.yaml, line \d: this is no YAML"):
        load_config(PretrainConfig, path)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(UsageError, match=r"c\.yaml: this is no YAML: it is no UTF-8 text"):
        load_config(PretrainConfig, tmp_path / "c.yaml")


def test_list_instead_of_keys_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected keys and values, got list"):
        load_config(PretrainConfig, yaml(tmp_path / "c.yaml", "- seed\n"))


def test_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = yaml(tmp_path / "c.yaml", "training: {steps: 5}\nseed: 1\ntraining: {batch_size: 2}\n")
    with pytest.raises(UsageError, match="line 3: this is no YAML: the key 'training' stands"):
        load_config(PretrainConfig, path)


def test_yaml_cannot_make_python_objects(tmp_path: Path) -> None:
    path = yaml(tmp_path / "c.yaml", "seed: !!python/object/apply:os.getpid []\n")
    with pytest.raises(UsageError, match="this is no YAML"):
        load_config(PretrainConfig, path)


def test_changed_keys_are_listed_with_both_values() -> None:
    after = load_config(PretrainConfig, None, ["seed=4", "training.steps=7"])
    assert changed_keys(PretrainConfig(), after) == ["seed: 0 -> 4", "training.steps: 1000 -> 7"]
    assert changed_keys(after, after) == []


def test_options_that_a_shell_takes_make_one_configuration_of_another() -> None:
    before = PretrainConfig()
    frame = Frame(size=96, margin=1e-7, pixels=Pixels.HU, window_hu=(-1350, 150))
    after = before.model_copy(update={"seed": 4, "frame": frame})
    options = overrides_to(before, after)
    assert "--set frame.pixels=hu" in options
    words = shlex.split(" ".join(options))
    assert words[::2] == ["--set"] * 5
    assert load_config(PretrainConfig, None, words[1::2]) == after
    assert overrides_to(frame, Frame(), "frame.")[0] == "--set frame.margin=0.12"
    assert overrides_to(Frame(depth=16), Frame()) == ["--set depth=null"]
    assert overrides_to(after, after) == []


@pytest.mark.parametrize(
    ("overrides", "plan"),
    [
        ([], YoudenPoint()),
        (["operating_point.kind=sensitivity"], SensitivityPoint(target=0.95)),
        (
            ["operating_point.kind=sensitivity", "operating_point.target=0.8"],
            SensitivityPoint(target=0.8),
        ),
        (["operating_point={kind: cost, ratio: 5}"], CostPoint(ratio=5)),
    ],
)
def test_rule_of_the_operating_point_is_chosen_by_its_kind(
    overrides: list[str], plan: object
) -> None:
    config = load_config(FinetuneConfig, None, overrides)
    assert config.operating_point == plan
    assert FinetuneConfig.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["operating_point.kind=yuden"], "Did you mean 'youden'"),
        (["operating_point.ratio=2"], "It belongs to operating_point.kind cost"),
        (["operating_point.kind=sensitivity", "operating_point.target=0"], "greater than 0"),
        (["operating_point.kind=cost", "operating_point.prevalence=1"], "less than 1"),
        (["operating_point=youden"], "expected keys, 'operating_point.kind' among them"),
        (["calibration=plat"], "calibration: .*'platt', 'temperature' or 'isotonic'"),
    ],
)
def test_rule_that_there_is_not_is_refused(overrides: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_config(FinetuneConfig, None, overrides)
