"""`covidssl import-weights`: weights of others in, an encoder file with its card out."""

from __future__ import annotations

import logging
from pathlib import Path

from covidssl.errors import UsageError
from covidssl.export.outputs import must_be_under_folders
from covidssl.files import sha256_of
from covidssl.foreign import (
    LAYOUTS,
    Imported,
    LayoutName,
    import_encoder,
    read_state_dict,
    stated_beside,
)
from covidssl.model import RESTORATION
from covidssl.networks.plan import Kind
from covidssl.weights import EncoderCard, Origin, save_encoder_file

log = logging.getLogger(__name__)


def main(
    file: Path,
    layout: LayoutName,
    out: Path,
    kind: Kind | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> tuple[Path, Imported]:
    """Write an encoder of foreign weights; gives its file, and what came of each tensor.

    Args:
        file: a state dict, `.pth`, `.pt` or `.safetensors`.
        layout: whose names its tensors have.
        out: the `.safetensors` file to write, or the folder for `encoder.safetensors`.
        kind: of encoder; None for the one that fits best.
        seed: of the tensors that the file does not hold.
        overwrite: replace an encoder that is there.

    Raises:
        UsageError: for an output that exists, or a folder that holds a restoration network.
        WeightsError: for a file that cannot be read, or is of another architecture or layout.
    """
    path = out if out.suffix == ".safetensors" else out / "encoder.safetensors"
    _must_be_free(path, file, overwrite)
    stated = stated_beside(file)
    tensors = read_state_dict(file)
    known = LAYOUTS[layout]
    imported = import_encoder(tensors, known, kind, seed, file.name, stated)
    encoder = imported.encoder
    card = EncoderCard(
        holds="encoder",
        encoder=encoder.plan,
        frame=None,
        trained_on=Origin(data_fingerprint=sha256_of(file), pictures=0, steps=0, seed=seed),
        metrics={},
        foreign=f"{layout} {encoder.plan.kind}",
        window_hu=known.window_hu or stated.covidssl.window_hu,
        drawn=imported.drawn,
        licence_note=stated.covidssl.licence_note or known.licence_note,
        sha256="",
    )
    save_encoder_file(path, encoder, encoder.state_dict(), card)
    return path, imported


def _must_be_free(path: Path, file: Path, overwrite: bool) -> None:
    must_be_under_folders(path)
    written = [path.with_suffix(suffix) for suffix in (".safetensors", ".json", ".md")]
    for one in written:
        if one.resolve() == file.resolve():
            raise UsageError(f"{one}: is the file to import; give another --out.")
        if one.is_dir():
            raise UsageError(f"{one}: is a folder; give another --out.")
        if one.exists() and not overwrite:
            raise UsageError(f"{one}: exists already. Use --overwrite, or another --out.")
    if (path.parent / RESTORATION).exists():
        raise UsageError(
            f"{path.parent}: holds {RESTORATION}, of the encoder that was pretrained there. Give "
            f"another --out: fine-tuning takes the two as one."
        )
