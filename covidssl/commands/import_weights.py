"""`covidssl import-weights`: weights of others in, an encoder file with its card out."""

from __future__ import annotations

import logging
from pathlib import Path

from covidssl.errors import UsageError
from covidssl.files import sha256_of
from covidssl.foreign import LAYOUTS, Imported, LayoutName, import_encoder, read_state_dict
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
        UsageError: for an output that exists.
        WeightsError: for a file that cannot be read, or is of another architecture or layout.
    """
    path = out if out.suffix == ".safetensors" else out / "encoder.safetensors"
    if path.exists() and not overwrite:
        raise UsageError(f"{path}: exists already. Use --overwrite, or another --out.")
    if path.resolve() == file.resolve():
        raise UsageError(f"{path}: is the file to import; give another --out.")
    tensors = read_state_dict(file)
    imported = import_encoder(tensors, LAYOUTS[layout], kind, seed, file.name)
    encoder = imported.encoder
    card = EncoderCard(
        holds="encoder",
        encoder=encoder.plan,
        frame=None,
        trained_on=Origin(data_fingerprint=sha256_of(file), pictures=0, steps=0, seed=seed),
        metrics={},
        foreign=f"{layout} {encoder.plan.kind}",
        drawn=imported.drawn,
        licence_note=LAYOUTS[layout].licence_note,
        sha256="",
    )
    save_encoder_file(path, encoder, encoder.state_dict(), card)
    return path, imported
