"""The pretexts that a configuration may name, by `pretext.kind`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Discriminator, Tag

from covidssl.pretext.mae import MaePretext
from covidssl.pretext.moco import MocoPretext
from covidssl.pretext.models_genesis import ModelsGenesisPretext
from covidssl.pretext.none import NoPretext
from covidssl.pretext.perlin import PerlinPretext
from covidssl.pretext.rotation import RotationPretext
from covidssl.pretext.simclr import SimclrPretext


def _kind(given: Any) -> Any:
    """Ours where none is named."""
    if isinstance(given, Mapping):
        return given.get("kind", "perlin")
    return getattr(given, "kind", None)


PretextPlan = Annotated[
    Annotated[PerlinPretext, Tag("perlin")]
    | Annotated[ModelsGenesisPretext, Tag("models_genesis")]
    | Annotated[MaePretext, Tag("mae")]
    | Annotated[RotationPretext, Tag("rotation")]
    | Annotated[SimclrPretext, Tag("simclr")]
    | Annotated[MocoPretext, Tag("moco")]
    | Annotated[NoPretext, Tag("none")],
    Discriminator(_kind),
]
"""Any pretext of a configuration."""
