"""A pack gives training what the store gives, without the store."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from typer.testing import CliRunner

from covidssl.clean_slices import StoredFrames, open_slices
from covidssl.cli import app
from covidssl.commands import pack as verb
from covidssl.commands import pretrain
from covidssl.config import load_config
from covidssl.errors import DataError, UsageError
from covidssl.experiments import PackConfig, PretrainConfig
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels
from covidssl.pack import Pack
from covidssl.store import Store
from tests.scan_files import chest_grey, write_png
from tests.store.stores import fill, prepare
from tests.store.test_remote import SMALL

FRAME = Frame(size=32, pixels=Pixels.HU)
CONFIG = load_config(PretrainConfig, None, SMALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pack")
    prepare(fill(folder / "in"), folder / "store")
    verb.main(PackConfig(frame=Frame(size=32)), folder / "store", folder / "whole.safetensors")
    return folder


def packed(folder: Path, out: Path, *settings: str, split: float | None = None) -> tuple[Path, ...]:
    config = load_config(PackConfig, None, ["frame.size=32", *settings])
    return verb.main(config, folder / "store", out, split)


def test_frames_masks_and_rows_are_those_of_the_store(folder: Path) -> None:
    store, pack = Store.open(folder / "store"), Pack.open(folder / "whole.safetensors")
    near, far = StoredFrames(store, FRAME), StoredFrames(pack, FRAME)
    assert len(near) == len(far) == 13
    assert list(pack.slices) == list(store.slices)
    assert (pack.fingerprint, pack.slices_dropped) == (store.fingerprint, store.slices_dropped)
    for place in range(13):
        for one, other in zip(near[place], far[place], strict=True):
            assert one.dtype == other.dtype
            assert torch.equal(one, other)


def test_it_is_a_plain_safetensors_file(folder: Path) -> None:
    with safe_open(folder / "whole.safetensors", framework="np") as file:
        assert file.get_tensor("frames").shape == (13, 32, 32)
        assert file.get_tensor("lungs").shape == (13, 32, 4)
        assert file.metadata()["format"] == "covidssl-pack-1"
    assert str(folder).encode() not in (folder / "whole.safetensors").read_bytes()


def test_parts_stay_below_their_size_and_read_as_one(folder: Path, tmp_path: Path) -> None:
    parts = packed(folder, tmp_path / "p.safetensors", split=0.03)
    assert [part.name for part in parts] == [
        f"p-{number:05d}-of-{len(parts):05d}.safetensors" for number in range(1, len(parts) + 1)
    ]
    assert len(parts) > 2
    assert all(part.stat().st_size <= 0.03 * 2**20 for part in parts)
    whole = Pack.open(folder / "whole.safetensors")
    for name in (tmp_path / "p.safetensors", parts[1]):
        pack = Pack.open(name)
        assert [(one.scan, one.index, one.box) for one in pack.slices] == [
            (one.scan, one.index, one.box) for one in whole.slices
        ]
        for place in range(13):
            assert np.array_equal(pack.at(place).frame, whole.at(place).frame)
            assert np.array_equal(pack.at(place).lungs, whole.at(place).lungs)


def test_missing_and_foreign_parts_are_refused(folder: Path, tmp_path: Path) -> None:
    parts = packed(folder, tmp_path / "p.safetensors", split=0.03)
    content = parts[0].read_bytes()
    parts[0].unlink()
    with pytest.raises(DataError, match=rf"1 of {len(parts)} parts are missing, such as number 1"):
        Pack.open(tmp_path / "p.safetensors")
    other = packed(folder, tmp_path / "o.safetensors", "frame.margin=0.2", split=0.03)
    other[0].rename(parts[0])
    with pytest.raises(DataError, match="belongs to another pack"):
        Pack.open(tmp_path / "p.safetensors")
    parts[0].write_bytes(content[:-1])
    with pytest.raises(DataError, match="is damaged or no safetensors file"):
        Pack.open(tmp_path / "p.safetensors")
    with pytest.raises(DataError, match="there is no such pack"):
        Pack.open(tmp_path / "nothing.safetensors")
    (tmp_path / "x.safetensors").write_bytes((folder / "store/index.safetensors").read_bytes())
    with pytest.raises(DataError, match="is no pack of this version"):
        Pack.open(tmp_path / "x.safetensors")


def test_another_frame_is_refused_with_what_to_set(folder: Path) -> None:
    pack = Pack.open(folder / "whole.safetensors")
    other = Frame(size=64, pixels=Pixels.HU, margin=0.2)
    with pytest.raises(UsageError, match=r"frame\.size=32, frame\.margin=0\.12"):
        StoredFrames(pack, other)
    with pytest.raises(UsageError, match=r"--set frame\.pixels=hu"):
        StoredFrames(pack, Frame(size=32))


def test_eight_bits_take_half_the_room_and_are_close(folder: Path, tmp_path: Path) -> None:
    (file,) = packed(folder, tmp_path / "p.safetensors", "bits=8")
    whole, pack = Pack.open(folder / "whole.safetensors"), Pack.open(file)
    assert file.stat().st_size < 0.6 * (folder / "whole.safetensors").stat().st_size
    assert pack.fingerprint != whole.fingerprint
    for place in range(13):
        one, other = (source.at(place).frame.astype(int) for source in (whole, pack))
        assert 0 < np.abs(one - other).max() <= 129
    assert pack.at(3).frame.dtype == np.uint16


def test_a_pack_is_not_replaced_unasked(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.safetensors"
    packed(folder, out, split=0.03)
    with pytest.raises(UsageError, match=r"p-00001-of-\d+\.safetensors: exists already"):
        packed(folder, out)
    config = load_config(PackConfig, None, ["frame.size=32"])
    assert verb.main(config, folder / "store", out, None, overwrite=True) == (out,)
    assert [path.name for path in tmp_path.iterdir()] == ["p.safetensors"]
    with pytest.raises(UsageError, match=r"a pack is called '\.safetensors'"):
        packed(folder, tmp_path / "p.bin")
    with pytest.raises(UsageError, match="--split: a slice takes"):
        packed(folder, tmp_path / "q.safetensors", split=0.016)


def test_a_pack_that_cannot_be_made_leaves_the_old_one(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.safetensors"
    parts = packed(folder, out, split=0.03)
    before = [part.read_bytes() for part in parts]
    config = load_config(PackConfig, None, ["frame.size=32"])
    with pytest.raises(UsageError, match="--split: a slice takes"):
        verb.main(config, folder / "store", out, 0.016, overwrite=True)
    assert [part.read_bytes() for part in parts] == before


FULL = """
import resource, sys
from pathlib import Path
from covidssl.commands import pack
from covidssl.config import load_config
from covidssl.errors import CovidsslError
from covidssl.experiments import PackConfig

resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
config = load_config(PackConfig, None, ["frame.size=32"])
try:
    pack.main(config, Path(sys.argv[1]), Path(sys.argv[2]), overwrite=True)
except CovidsslError as error:
    sys.exit(str(error))
"""


def test_a_full_disk_leaves_the_old_pack_as_it_was(folder: Path, tmp_path: Path) -> None:
    parts = packed(folder, tmp_path / "p.safetensors", split=0.03)
    half = tmp_path / ".p-00001-of-00009.safetensors.17.part.safetensors"
    half.write_bytes(b"left by a kill")
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(folder / "store"), str(tmp_path / "p.safetensors")],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert "the disk is full" in done.stderr
    assert len(Pack.open(tmp_path / "p.safetensors").slices) == 13
    assert {path.name for path in tmp_path.iterdir()} == {part.name for part in parts}


def test_parts_cut_at_other_places_or_renamed_do_not_mix(folder: Path, tmp_path: Path) -> None:
    """As many parts of the same store and frame, only that they end elsewhere."""
    parts = packed(folder, tmp_path / "p.safetensors", split=0.0295)
    other = packed(folder, tmp_path / "o.safetensors", split=0.0275)
    assert len(parts) == len(other)
    content = [part.read_bytes() for part in parts]
    parts[0].write_bytes(other[0].read_bytes())
    with pytest.raises(DataError, match="belongs to another pack"):
        Pack.open(tmp_path / "p.safetensors")
    parts[0].write_bytes(content[1])
    parts[1].write_bytes(content[0])
    with pytest.raises(DataError, match="begins with slice"):
        Pack.open(tmp_path / "p.safetensors")


def test_a_store_of_both_kinds_is_packed_by_the_one_asked_for(tmp_path: Path) -> None:
    write_png(fill(tmp_path / "in") / "x.png", chest_grey(96))
    prepare(tmp_path / "in", tmp_path / "store")
    with pytest.raises(DataError, match="holds hu and windowed"):
        packed(tmp_path, tmp_path / "p.safetensors")
    (file,) = packed(tmp_path, tmp_path / "p.safetensors", "frame.pixels=windowed")
    assert [stored.scan for stored in Pack.open(file).slices] == ["x.png"]


def test_a_pack_travels_to_a_worker_by_its_name(folder: Path) -> None:
    pack = Pack.open(folder / "whole.safetensors")
    sent = pickle.dumps(pack)
    assert len(sent) < 2000
    assert np.array_equal(pickle.loads(sent).at(7).frame, pack.at(7).frame)


def test_the_command_packs_and_names_what_it_wrote(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.safetensors"
    given = ["pack", str(folder / "store"), "--size", "48", "--out", str(out), "--bits", "8"]
    done = CliRunner().invoke(app, given, catch_exceptions=False)
    assert done.stdout == f"{out}\n"
    pack = open_slices(str(out))
    assert isinstance(pack, Pack)
    assert pack.frame == Frame(size=48, pixels=Pixels.HU)


BARE = """
import sys

class Absent:
    names = {names}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ImportError(f"{{name}} is not there")

sys.meta_path.insert(0, Absent())
from pathlib import Path
from covidssl.commands import pretrain
from covidssl.config import load_config
from covidssl.experiments import PretrainConfig

config = load_config(PretrainConfig, None, {settings})
pretrain.main(config, sys.argv[1], Path(sys.argv[2]), device="cpu")
"""
NOT_THERE = {
    "zarr", "numcodecs", "google_crc32c", "SimpleITK", "nibabel", "pydicom", "s3fs", "ray", "pooch",
}  # fmt: skip


@pytest.mark.slow
def test_training_needs_neither_readers_nor_zarr_and_has_the_same_losses(
    folder: Path, tmp_path: Path
) -> None:
    pretrain.main(CONFIG, folder / "store", tmp_path / "store", device="cpu")
    packed(folder, tmp_path / "p.safetensors", split=0.03)
    done = subprocess.run(
        [sys.executable, "-c", BARE.format(names=NOT_THERE, settings=SMALL),
         str(tmp_path / "p.safetensors"), str(tmp_path / "pack")],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    losses = [
        [line.split(",")[1] for line in (tmp_path / name / "metrics.csv").read_text().split()]
        for name in ("store", "pack")
    ]
    assert len(losses[0]) == 1 + CONFIG.training.steps
    assert losses[0] == losses[1]
    weights = [(tmp_path / name / "encoder.safetensors").read_bytes() for name in ("store", "pack")]
    assert weights[0] == weights[1]
