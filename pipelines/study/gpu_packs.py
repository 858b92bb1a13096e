"""Packed data for a borrowed GPU: all frames cut once, in parts that travel one by one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from covidssl.datasets import LabelledScan
from covidssl.errors import DataError
from covidssl.files import write_bytes
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels
from covidssl.io import ScanFiles
from covidssl.labelled_frames import LabelledFrames, Look, load_labelled_frames
from covidssl.lungs import Lungs
from covidssl.pack import Packing, write_pack
from covidssl.quality.folds import Fold
from covidssl.store import Store
from covidssl.volume import Volume
from pipelines.study.folds import cut
from pipelines.study.targets import SetName, TargetSet

MOST_BYTES = 60 * 2**20
"""Of a part: what a borrowed machine takes at once."""

LUNA16 = "luna16.safetensors"
_STEP = 65535 // 255
_PARTS = ("learn", "choose", "score")


@dataclass(frozen=True)
class PackedSet:
    """A labelled set that was packed: no names, no raw data.

    Attributes:
        target: the set.
        folds: of the blocked split.
    """

    target: TargetSet
    folds: tuple[Fold, ...]


def pack_slices(store: Path, pack: Path, frame: Frame, most_bytes: int = MOST_BYTES) -> list[Path]:
    """Pack the corpus; gives its parts."""
    opened = Store.open(store)
    return list(write_pack(opened, pack / LUNA16, Packing(frame, 8, most_bytes)))


def pack_set(
    target: TargetSet, loaded: LabelledFrames, pack: Path, most_bytes: int = MOST_BYTES
) -> list[Path]:
    """Pack a labelled set with its blocked folds; gives its parts.

    Args:
        target: the set.
        loaded: its frames as they shall be packed, with their lungs.
        pack: the folder to write in.
        most_bytes: of a part.
    """
    frames = (loaded.frames // _STEP).astype(np.uint8)
    lungs = np.packbits(loaded.lungs(np.arange(len(frames))), axis=-1)
    _, group = np.unique(np.array(target.group), return_inverse=True)
    known: dict[str, NDArray[Any]] = {
        "target": target.target.astype(np.uint8),
        "group": group.astype(np.uint16),
        **{f"fold-{number}": _codes(one, len(frames)) for number, one in enumerate(_cut(target))},
    }
    each = frames[0].nbytes + lungs[0].nbytes + sum(one[:1].nbytes for one in known.values())
    rows = max(1, (most_bytes - 2**16) // each)
    parts = [slice(at, at + rows) for at in range(0, len(frames), rows)]
    written = []
    for number, part in enumerate(parts, start=1):
        file = pack / f"{target.name}-{number:05d}-of-{len(parts):05d}.safetensors"
        arrays = {"frames": frames[part], "lungs": lungs[part]}
        arrays |= {name: values[part] for name, values in known.items()}
        write_bytes(file, save_arrays({n: np.ascontiguousarray(a) for n, a in arrays.items()}))
        written.append(file)
    return written


def recut(target: TargetSet, frame: Frame, cache: Path) -> LabelledFrames:
    """A set's frames, cut otherwise."""
    return load_labelled_frames(target.scans, frame, 1, cache, look=Look("nothing-1", _nothing))


def read_set(pack: Path, name: SetName) -> PackedSet:
    """Read a packed set.

    Raises:
        DataError: when there is none, or a part is missing.
    """
    files = sorted(pack.glob(f"{name}-*-of-*.safetensors"))
    if not files or len(files) != int(files[0].stem.rpartition("-")[2]):
        raise DataError(
            f"{pack}: {len(files)} parts of '{name}' are there, not all. Copy every part that was "
            f"packed."
        )
    parts = [load_arrays(file.read_bytes()) for file in files]
    arrays = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    folds = [arrays[key] for key in sorted(arrays) if key.startswith("fold-")]
    return PackedSet(_target(name, arrays), tuple(_fold(codes) for codes in folds))


def _target(name: SetName, arrays: Mapping[str, NDArray[Any]]) -> TargetSet:
    frames = arrays["frames"].astype(np.uint16) * np.uint16(_STEP)
    target = arrays["target"].astype(np.int64)
    count = len(frames)
    scans = tuple(
        LabelledScan(f"{row:05d}", ScanFiles(f"{row:05d}", "picture", ()), bool(target[row]))
        for row in range(count)
    )
    thumbnails = np.zeros((count, 1), np.float32)
    loaded = LabelledFrames(
        frames=frames,
        scan_of=np.arange(count),
        scans=scans,
        thumbnails=thumbnails,
        hashes=np.zeros((count, 32), np.uint8),
        voxels=("",) * count,
        pixels=(Pixels.WINDOWED,) * count,
        dropped=(),
        without_lungs=(),
        warned=(),
        masks=arrays["lungs"],
    )
    return TargetSet(
        name=name,
        scans=scans,
        frames=frames,
        lungs=loaded.lungs(np.arange(count)),
        target=target,
        group=tuple(f"{one:05d}" for one in arrays["group"].tolist()),
        thumbnails=thumbnails,
        sizes=thumbnails,
        loaded=loaded,
        table=Path(),
    )


def _cut(target: TargetSet) -> tuple[Fold, ...]:
    return cut(target, "blocked")


def _codes(fold: Fold, count: int) -> NDArray[np.uint8]:
    codes = np.zeros(count, np.uint8)
    for code, part in enumerate(_PARTS, start=1):
        codes[getattr(fold, part)] = code
    return codes


def _fold(codes: NDArray[np.uint8]) -> Fold:
    return Fold(*(np.flatnonzero(codes == code) for code in range(1, len(_PARTS) + 1)))


def _nothing(_scan: LabelledScan, _ct: Volume, _lungs: Lungs) -> Mapping[str, NDArray[Any]]:
    return {"nothing": np.zeros(1, np.uint8)}
