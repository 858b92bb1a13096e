"""The tables of the paper's comparison: from records alone, each arm at its best, fairly paired."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from covidssl.errors import DataError
from pipelines.reproduce_paper import blocks
from pipelines.study.grid import cells_of
from pipelines.study.paper_tables import (
    gpu_table,
    paper_table,
    random_table,
    time_table,
    ways_table,
)
from pipelines.study.paper_targets import margins_table, targets_table
from pipelines.study.records import Cell, Facts, read_record, write_images, write_record
from pipelines.study.scores import KERNEL, PROBE
from pipelines.study.standing import field_of
from pipelines.study.trivial import RIVALS
from tests.study.made_records import (
    made_cells,
    made_facts,
    made_found,
    made_images,
    write_made_study,
)

SHIFTS = {
    "perlin": 3.0,
    "models_genesis": 1.2,
    "mae": 1.0,
    "rotation": 0.8,
    "simclr": 1.1,
    "none": 0.6,
    "trees on thumbnail": 1.5,
    "nearest thumbnail": 0.5,
}
TUNED = [
    Cell("fine-tuned, low rate", fraction, 0 if fraction == 1.0 else seed, seed)
    for fraction in (0.1, 1.0)
    for seed in range(2)
]
SET = "sars-cov-2-ct"


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("records")
    write_made_study(folder, "reproduce", SHIFTS, sets=(SET,))
    return folder


def with_tuned(folder: Path, shift: float, encoder: str = "a") -> Path:
    """Records of ours alone: probes of encoder `a`, fine-tuned models of another or the same."""
    images = made_images()
    write_images(folder, SET, "blocked", images)
    for study, seed, cells, of in (
        ("reproduce", 0, None, "a"),
        ("reproduce-fine-tuned", 9, TUNED, encoder),
    ):
        facts: Facts = made_facts("perlin").model_copy(update={"sources": {"encoder": of}})
        made = made_cells(images, 1.0 if cells is None else shift, seed, cells)
        write_record(folder / study, facts, made)
    write_record(folder / "reproduce", made_facts("none"), made_cells(images, 0.5, 3))
    return folder


def test_without_records_no_block_has_anything_to_say(tmp_path: Path) -> None:
    assert [block.make(tmp_path) for block in blocks()] == [""] * len(blocks())
    assert len({block.key for block in blocks()}) == len(blocks())


def test_every_arm_and_rival_has_a_row_and_ours_is_compared_with_each(records: Path) -> None:
    table = paper_table(records, SET)
    assert paper_table(records, SET) == table, "the same records must give the same digits"
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 * (2 + len(SHIFTS)), "head, rule, arms and rivals; for two shares"
    assert all(any(name in row for row in rows) for name in RIVALS if name in SHIFTS)
    ours = next(row for row in rows if row.startswith("| Perlin"))
    assert ours.endswith("|  |  |  |  |")
    few = [row for row in rows[rows.index(ours) + 1 :] if row.startswith("| Perlin")]
    assert few[0].split(" | ")[2] == "5", "draws of 10 %"
    assert "corrected by Holm" in table
    titles = [line for line in table.splitlines() if line.startswith("**")]
    assert titles == [
        "**100 % of the labels** (some 200 images a fold)",
        "**10 % of the labels** (some 20 images a fold)",
    ]
    assert "single draws" in table
    assert next(row for row in rows if row.startswith("| no pre")).endswith("| < 0.001 |")
    assert "ImageNet, supervised: not run" in table


def test_an_arm_stands_at_the_protocol_that_its_own_labels_prefer(tmp_path: Path) -> None:
    field = field_of(with_tuned(tmp_path, 4.0), SET, "blocked", "plain")
    assert field is not None
    standing = field.standing("perlin", 0.1)
    assert standing.protocols == ("fine-tuned, low rate",)
    assert standing.draws == {0, 1}
    ours, none = (field.founds(field.standing(arm, 0.1), 0.1, {0, 1}) for arm in ("perlin", "none"))
    assert none.keys() == ours.keys() == {0, 1}, "arms must be compared on equal draws"


def test_an_arm_with_probes_only_is_held_against_our_probes(tmp_path: Path) -> None:
    field = field_of(with_tuned(tmp_path, 4.0), SET, "blocked", "plain")
    assert field is not None
    pair = field.paired("perlin", "none", 0.1)
    assert pair.protocols == (("probe",), ("probe",))
    assert set(pair.one) == set(pair.other) == {0, 1, 2, 3, 4}
    probes = field.founds(field.frozen("perlin", 0.1), 0.1)
    for draw, own in probes.items():
        np.testing.assert_array_equal(pair.one[draw][0].chance, own[0].chance)
    assert "| linear probe | 5 |" in paper_table(tmp_path, SET)


def test_the_second_corpus_is_never_the_best_arm_and_is_told_beside(tmp_path: Path) -> None:
    shifts = SHIFTS | {"perlin-with-targets": 9.0}
    write_made_study(tmp_path, "reproduce", shifts, sets=(SET,), splits=("blocked",))
    row = next(line for line in targets_table(tmp_path).splitlines() if "best arm over" in line)
    found = row.split(" | ")[2]
    assert found.startswith("Perlin pseudo-lesions restored (ours): +")
    assert "; Perlin pseudo-lesions restored (ours), second corpus: +" in found


def test_a_higher_mean_with_a_draw_that_is_lower_meets_no_target(tmp_path: Path) -> None:
    images = write_made_study(tmp_path, "reproduce", SHIFTS, sets=(SET,), splits=("blocked",))
    cells = made_cells(images, 3.0)
    cells[Cell("probe", 0.1, 3)] = made_found(images, 0.0)
    write_record(tmp_path / "reproduce", made_facts("perlin"), cells)
    rows = [line for line in targets_table(tmp_path).splitlines() if "higher on every draw" in line]
    assert len(rows) == 4
    assert all("single draws (5): -" in row and row.endswith("| **not met** |") for row in rows)


def test_each_way_of_using_labels_is_told_of_arms_that_were_fine_tuned(tmp_path: Path) -> None:
    """On the draws that all protocols were given; of arms that were not fine-tuned, nothing."""
    assert ways_table(with_kernel(tmp_path / "frozen", 6.0)) == ""
    table = ways_table(with_tuned(tmp_path / "tuned", 4.0))
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| SARS")]
    assert [row[2:5] for row in rows] == [
        ["100 %", "linear probe", "1"],
        ["100 %", "fine-tuned, low rate", "1"],
        ["10 %", "linear probe", "2"],
        ["10 %", "fine-tuned, low rate", "2"],
    ]
    assert all("Perlin" in row[1] for row in rows)
    assert rows[0][6] < rows[1][6], "those that part the classes better"


def test_where_the_frozen_probe_is_preferred_all_its_draws_count(tmp_path: Path) -> None:
    field = field_of(with_tuned(tmp_path, -3.0), SET, "blocked", "plain")
    assert field is not None
    standing = field.standing("perlin", 0.1)
    assert (standing.protocols, len(standing.draws)) == (("probe",), 5)
    assert len(field.founds(standing, 0.1)) == 5, "an entry a draw"


def with_kernel(folder: Path, shift: float) -> Path:
    """Both arms with both frozen probes; the linear ones as in `SHIFTS`."""
    images = write_made_study(folder, "reproduce", SHIFTS, sets=(SET,), splits=("blocked",))
    for arm in ("perlin", "none"):
        kernel = {cell: made_found(images, shift, 70 + cell.draw) for cell in cells_of(KERNEL)}
        write_record(
            folder / "reproduce", made_facts(arm), made_cells(images, SHIFTS[arm]) | kernel
        )
    return folder


def test_between_frozen_probes_each_arm_has_the_one_that_its_labels_prefer(tmp_path: Path) -> None:
    field = field_of(with_kernel(tmp_path, 6.0), SET, "blocked", "plain")
    assert field is not None
    assert field.standing("perlin", 0.1).protocols == (KERNEL,)
    assert len(field.standing("perlin", 0.1).draws) == 5
    pair = field.paired("perlin", "none", 0.1)
    assert pair.protocols == ((KERNEL,), (KERNEL,))
    pair = field.paired("perlin", "models_genesis", 0.1)
    assert pair.protocols == ((PROBE,), (PROBE,)), "the other has no kernel probe"
    linear = [one.inner for cell, one in field.records["perlin"].cells.items()
              if cell.protocol == PROBE and cell.fraction == 0.1]  # fmt: skip
    assert field.inner("perlin", 0.1) == pytest.approx(np.mean(linear)), "arms: by linear probes"
    assert "| kernel probe | 5 |" in paper_table(tmp_path, SET)


def test_a_kernel_probe_that_had_too_few_to_choose_on_is_never_taken(tmp_path: Path) -> None:
    """Nor does it leave the draws to fewer: its inner scores are not numbers, in files too."""
    images = write_made_study(tmp_path, "reproduce", SHIFTS, sets=(SET,), splits=("blocked",))
    kernel = {cell: made_found(images, 6.0, 70 + cell.draw) for cell in cells_of(KERNEL, (0.1,))}
    unknown = {
        cell: found._replace(inner=np.nan, inners=(np.nan,) * len(found.inners))
        for cell, found in kernel.items()
    }
    cells = made_cells(images, SHIFTS["perlin"]) | unknown
    file = write_record(tmp_path / "reproduce", made_facts("perlin"), cells)
    read = read_record(file).cells[Cell(KERNEL, 0.1, 3)]
    assert np.isnan(read.inner)
    assert np.isnan(read.inners).all()
    field = field_of(tmp_path, SET, "blocked", "plain")
    assert field is not None
    standing = field.standing("perlin", 0.1)
    assert (standing.protocols, standing.draws) == ((PROBE,), {0, 1, 2, 3, 4})


def test_a_share_that_was_not_probed_is_told_as_missing(tmp_path: Path) -> None:
    images = write_made_study(tmp_path, "reproduce", SHIFTS, sets=(SET,), splits=("blocked",))
    cells = {Cell(PROBE, 1.0): made_found(images, 1.0)}
    write_record(tmp_path / "reproduce", made_facts("none"), cells)
    field = field_of(tmp_path, SET, "blocked", "plain")
    assert field is not None
    with pytest.raises(DataError, match="no model of 0.1 of the labels"):
        field.paired("perlin", "none", 0.1)


def test_a_kernel_probe_that_does_worse_within_the_labels_changes_nothing(tmp_path: Path) -> None:
    field = field_of(with_kernel(tmp_path, -3.0), SET, "blocked", "plain")
    assert field is not None
    assert field.standing("perlin", 1.0).protocols == (PROBE,)


def test_fine_tuned_models_of_another_encoder_are_left_out_and_it_is_said(tmp_path: Path) -> None:
    folder = with_tuned(tmp_path, 4.0, encoder="b")
    field = field_of(folder, SET, "blocked", "plain")
    assert field is not None
    assert field.torn == ("perlin",)
    assert field.standing("perlin", 1.0).protocols == ("probe",)
    assert "Left out, since they are of another encoder" in paper_table(folder, SET)


def test_targets_are_told_as_met_and_as_not_met(records: Path) -> None:
    lines = targets_table(records).splitlines()
    gains = [line for line in lines if "over no pretraining" in line]
    assert len(gains) == 2
    assert all(line.endswith("| met |") for line in gains)
    others = [line for line in lines if "a higher AUROC, p < 0.05" in line]
    assert len(others) == 4
    assert all(line.endswith("| met |") for line in others)
    assert any("trees on thumbnail" in line for line in lines)


def test_an_arm_that_is_no_better_meets_no_target(tmp_path: Path) -> None:
    equal = dict.fromkeys(SHIFTS, 1.0) | {"trees on thumbnail": 3.0}
    write_made_study(tmp_path, "reproduce", equal, sets=(SET,), splits=("blocked",))
    lines = [line for line in targets_table(tmp_path).splitlines()[2:] if line.startswith("|")]
    assert lines
    assert all(line.endswith("| **not met** |") for line in lines)


def test_a_random_split_is_shown_with_the_thumbnails_beside_it(records: Path) -> None:
    table = random_table(records)
    assert "random: AUROC" in table
    assert "| SARS-CoV-2 CT | trees on thumbnail |" in table


def test_the_papers_margins_stand_beside_ours_and_the_baseline_that_lacks_says_so(
    records: Path,
) -> None:
    table = margins_table(records)
    assert "+6.57" in table
    assert "+3.03" in table
    assert "ImageNet, supervised | not run: its weights were not given" in table


def test_time_is_told_by_arm_and_by_what_it_went_into(tmp_path: Path) -> None:
    images = made_images()
    machine = {"machine": {"processor": "a processor"}, "pretraining minutes": 42.04}
    facts = made_facts("perlin").model_copy(update={"settings": machine})
    write_record(tmp_path / "reproduce", facts, {Cell("probe", 1.0): made_found(images, 1.0)})
    table = time_table(tmp_path)
    assert "| 42.0 | 1.0 | 0.0 |" in table
    assert "on a processor; device cpu; threads a process: 1" in table


def test_the_larger_network_has_a_table_of_its_own(tmp_path: Path) -> None:
    assert gpu_table(tmp_path) == ""
    shifts = {"perlin": 2.0, "none": 1.0}
    write_made_study(tmp_path, "reproduce-gpu", shifts, sets=(SET,), splits=("blocked",))
    assert gpu_table(tmp_path).count("| no pretraining |") == 2
    assert paper_table(tmp_path, SET) == ""
