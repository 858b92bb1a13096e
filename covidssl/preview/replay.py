"""`draws.json`: a preview as numbers, from which the same lesions are drawn to the last bit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from covidssl.clean_slices import spread_places
from covidssl.errors import CovidsslError, DataError, UsageError
from covidssl.experiments import MOST_SLICES, PreviewConfig
from covidssl.frames import Frame
from covidssl.lesions import LesionParams, LesionRanges, params_from_json, params_to_json
from covidssl.preview.drawing import (
    Drawing,
    Plan,
    are_neighbours,
    with_pixels_of,
)
from covidssl.store import Store
from covidssl.version import __version__

FORMAT = "covidssl-draws-1"

_MOST_BYTES = 16 * 2**20
_MOST_COLUMNS = 32

Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, lt=2**63)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _Slice(_Strict):
    place: Count
    scan: str
    index: Count


class _Draw(_Strict):
    name: str = Field(min_length=1, max_length=200)
    ranges: LesionRanges | None
    key: tuple[Count, ...] | None
    params: dict[str, Any]
    rendered: tuple[Hash, ...]


class _Draws(_Strict):
    format: Literal["covidssl-draws-1"]
    covidssl: str = Field(max_length=100)
    store: str
    seed: Count
    frame: Frame
    slab: bool
    slices: tuple[_Slice, ...] = Field(min_length=1, max_length=MOST_SLICES)
    sheet: _Draw
    draws: tuple[_Draw, ...] = Field(min_length=1, max_length=_MOST_COLUMNS)


def draws_json(
    plan: Plan, config: PreviewConfig, store: Store, rendered: Sequence[Sequence[str]]
) -> str:
    """The plan as the text of `draws.json`.

    Args:
        plan: what was drawn.
        config: seed and frame.
        store: whose slices were drawn on.
        rendered: `rendered_hashes` of the sheet, then of each column.
    """
    slices = [store.slices[place] for place in plan.places]
    sheet, *draws = (
        {
            "name": drawing.name,
            "ranges": drawing.ranges.model_dump(mode="json") if drawing.ranges else None,
            "key": drawing.key,
            "params": json.loads(params_to_json(drawing.params)),
            "rendered": list(hashes),
        }
        for drawing, hashes in zip((plan.sheet, *plan.columns), rendered, strict=True)
    )
    content = {
        "format": FORMAT,
        "covidssl": __version__,
        "store": store.fingerprint,
        "seed": config.seed,
        "frame": config.frame.model_dump(mode="json"),
        "slab": plan.slab,
        "slices": [
            {"place": place, "scan": stored.scan, "index": stored.index}
            for place, stored in zip(plan.places, slices, strict=True)
        ],
        "sheet": sheet,
        "draws": draws,
    }
    return json.dumps(content, allow_nan=False) + "\n"


def read_replay(path: Path, store: Store, config: PreviewConfig) -> tuple[Plan, PreviewConfig]:
    """The plan of a `draws.json`, or of draws as `params_to_json` writes them.

    Bare draws go on slices spread evenly over the store, as a new preview of as many slices does.

    Args:
        path: the file.
        store: the one that the draws were made on; bare draws go on any.
        config: may set the frame, and nothing else.

    Returns:
        The plan, and the configuration that it stands for.

    Raises:
        DataError: when the file holds no draws, or they do not fit the store.
        UsageError: when the configuration asks for something that the file decides.
    """
    decided = sorted(config.model_fields_set - {"frame"})
    if decided:
        raise UsageError(
            f"--replay {path}: draws what the file says; leave out what --config, --set or "
            f"--lesions say of {', '.join(decided)}."
        )
    content = _read(path)
    if "format" not in content:
        return _bare(path, content, store, config)
    try:
        draws = _Draws.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise _refusal(path, f"{place}: {first['msg']}") from error
    _check_content(path, draws, store)
    if "frame" in config.model_fields_set and config.frame != draws.frame:
        raise UsageError(f"--replay {path}: was drawn with another frame; leave 'frame' out.")
    count = len(draws.slices)
    plan = Plan(
        tuple(one.place for one in draws.slices),
        _drawing(path, draws.sheet, count, draws.slab),
        tuple(_drawing(path, draw, count, draws.slab) for draw in draws.draws),
        draws.slab,
        draws.covidssl,
    )
    return plan, _standing_for(draws)


def _standing_for(draws: _Draws) -> PreviewConfig:
    return PreviewConfig(
        seed=draws.seed,
        frame=draws.frame,
        lesions=draws.sheet.ranges or LesionRanges(),
        presets=(),
        # By name with all their numbers: a preset may change with the version.
        ranges={draw.name: draw.ranges for draw in draws.draws if draw.ranges},
        slices=len(draws.slices),
        slab=draws.slab,
    )


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file to replay.")
    if path.stat().st_size > _MOST_BYTES:
        raise _refusal(path, f"it is larger than {_MOST_BYTES // 2**20} MiB")
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise _refusal(path, "it is no JSON of finite numbers") from error
    if not isinstance(content, dict):
        raise _refusal(path, "it holds no keys")
    return content


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _bare(
    path: Path, content: Mapping[str, Any], store: Store, config: PreviewConfig
) -> tuple[Plan, PreviewConfig]:
    params = _params(path, content)
    count = len(params.seed)
    if not 1 <= count <= MOST_SLICES:
        raise _refusal(path, f"it holds {count} draws, and a preview shows 1 to {MOST_SLICES}")
    places = spread_places(len(store.slices), count)
    if len(places) < count:
        raise _refusal(path, f"it holds {count} draws, and the store {len(store.slices)} slices")
    drawing = Drawing("replay", None, None, _checked(path, params, count))
    frame = with_pixels_of(store, config).frame
    config = PreviewConfig(frame=frame, presets=(), slices=count)
    return Plan(places, drawing, (drawing,)), config


def _check_content(path: Path, draws: _Draws, store: Store) -> None:
    if draws.store != store.fingerprint:
        raise DataError(
            f"{path}: was drawn on another store than {store.folder} (fingerprints "
            f"{draws.store[:12]!r} and {store.fingerprint[:12]!r}). Give that store."
        )
    for one in draws.slices:
        there = store.slices[one.place] if one.place < len(store.slices) else None
        if there is None or (there.scan, there.index) != (one.scan, one.index):
            raise _refusal(path, f"the store holds another slice at place {one.place}, or none")
    lines = [store.slices[one.place] for one in draws.slices]
    if draws.slab and not all(map(are_neighbours, lines, lines[1:])):
        raise _refusal(path, "the slices of its slab are no neighbours")
    if len({draw.name for draw in draws.draws}) < len(draws.draws):
        raise _refusal(path, "two of its columns have one name")


def _drawing(path: Path, draw: _Draw, count: int, slab: bool) -> Drawing:
    if len(draw.rendered) != count:
        raise _refusal(path, f"'{draw.name}' has {len(draw.rendered)} hashes for {count} slices")
    params = _checked(path, _params(path, draw.params), 1 if slab else count)
    return Drawing(draw.name, draw.ranges, draw.key, params, draw.rendered)


def _params(path: Path, content: Mapping[str, Any]) -> LesionParams:
    try:
        return params_from_json(json.dumps(content))
    except (CovidsslError, ValueError, TypeError, OverflowError, RuntimeError) as error:
        said = str(error) if isinstance(error, CovidsslError) else "its draws cannot be read."
        raise DataError(f"{path}: {said}") from error


def _checked(path: Path, params: LesionParams, count: int) -> LesionParams:
    """The draws, when they are as many as belong; what they may hold is checked in reading them."""
    if len(params.seed) != count:
        raise _refusal(path, f"it holds {len(params.seed)} draws where {count} belong")
    return params


def _refusal(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path}: cannot be replayed: {reason}. Give a draws.json of 'covidssl preview', or draws "
        f"as params_to_json writes them."
    )
