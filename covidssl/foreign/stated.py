"""What a `config.json` beside a foreign file says of it, as timm writes them and covidssl does."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from covidssl.errors import WeightsError
from covidssl.foreign.first_layer import Seen
from covidssl.hounsfield import Window

_MOST_BYTES = 2**20


class _Grey(BaseModel):
    mean: list[float] = []
    std: list[float] = []


class _Ours(BaseModel):
    groups: int | None = Field(None, ge=1, le=4096)
    window_hu: Window | None = None
    licence_note: str | None = None


class Stated(BaseModel):
    """What is known of a file of weights from beside it; nothing where there is no such file.

    Attributes:
        pretrained_cfg: timm's: how each channel was scaled.
        covidssl: what `covidssl export --format timm` adds: groups of the norms, window in HU,
            licence note.
    """

    pretrained_cfg: _Grey = _Grey()
    covidssl: _Ours = _Ours()

    @property
    def seen(self) -> Seen | None:
        """How the network saw a grey value in each of its channels; None where it is not said."""
        mean, std = self.pretrained_cfg.mean, self.pretrained_cfg.std
        whole = len(mean) == len(std) > 0 and min(std) > 0
        return Seen(mean, std) if whole else None


NOTHING = Stated()


def stated_beside(file: Path) -> Stated:
    """Read `config.json` in the folder of a file.

    Raises:
        WeightsError: for one that says something else than timm's and ours do.
    """
    path = file.parent / "config.json"
    if not path.is_file() or path.stat().st_size > _MOST_BYTES:
        return NOTHING
    try:
        return Stated.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        raise WeightsError(
            f"{path}: is no description of weights as timm and covidssl write it "
            f"({'.'.join(map(str, first['loc']))}: {first['msg']}). Move it away if it belongs to "
            f"something else."
        ) from error
