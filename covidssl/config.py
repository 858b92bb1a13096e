"""Configuration: one YAML an experiment, read into a frozen model that refuses surprises."""

from __future__ import annotations

import difflib
import json
import shlex
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, Tag, ValidationError

from covidssl.errors import UsageError
from covidssl.yaml_text import parse_yaml, read_yaml, write_yaml

C = TypeVar("C", bound=BaseModel)


def load_config(kind: type[C], path: Path | None, overrides: Iterable[str] = ()) -> C:
    """Read a YAML file into `kind`, then apply overrides such as `training.steps=200`.

    Args:
        kind: the model of the configuration.
        path: the file; None for the defaults.
        overrides: `key=value`, the key dotted, the value YAML.

    Raises:
        UsageError: for a missing file, no YAML, an unknown key (with its nearest right one) or a
            value that does not fit, each with the key.
    """
    where = str(path) if path else "defaults"
    values = read_yaml(path) if path else {}
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key:
            raise UsageError(f"--set {override}: expected key=value, such as training.steps=200.")
        _put(values, key.split("."), parse_yaml(value, f"--set {override}"), override)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UsageError("\n".join(_explain(kind, where, e) for e in error.errors())) from error


def dump_config(config: BaseModel) -> str:
    """The resolved configuration as YAML."""
    return write_yaml(config.model_dump(mode="json"))


def changed_keys(before: BaseModel, after: BaseModel) -> list[str]:
    """Dotted keys whose values differ, as `key: before -> after`."""
    old, new = _flat(before.model_dump(mode="json")), _flat(after.model_dump(mode="json"))
    return [
        f"{key}: {old.get(key)} -> {new.get(key)}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


def overrides_to(before: BaseModel, after: BaseModel, prefix: str = "") -> list[str]:
    """Options that make `after` of `before`, ready for a shell: `--set frame.pixels=windowed`.

    Args:
        before: what the configuration says.
        after: what it shall say.
        prefix: of the keys, such as `frame.`.
    """
    old, new = _flat(before.model_dump(mode="json")), _flat(after.model_dump(mode="json"))
    return [
        f"--set {shlex.quote(f'{prefix}{key}={_as_override(value)}')}"
        for key, value in sorted(new.items())
        if old.get(key) != value
    ]


def _as_override(value: Any) -> str:
    """A value as `--set` reads it back."""
    plain = isinstance(value, str) and parse_yaml(value, value) == value
    return value if plain else json.dumps(value)


def _put(values: dict[str, Any], keys: list[str], value: Any, override: str) -> None:
    for key in keys[:-1]:
        inner = {} if values.get(key) is None else values[key]
        if not isinstance(inner, dict):
            raise UsageError(f"--set {override}: '{key}' holds a value, not further keys.")
        values[key] = inner
        values = inner
    values[keys[-1]] = value


def _explain(kind: type[BaseModel], where: str, error: Mapping[str, Any]) -> str:
    place = _keys(kind, error["loc"])
    key = ".".join(place)
    if error["type"] == "union_tag_invalid":
        return f"{where}: {_unknown_kind(key, error['ctx'])}"
    if error["type"] == "union_tag_not_found":
        return f"{where}: {key}: expected keys, '{key}.kind' among them (got {error['input']!r})."
    if error["type"] != "extra_forbidden":
        given = f" (got {error['input']!r})" if not isinstance(error["input"], Mapping) else ""
        said = error["msg"].removeprefix("Value error, ")
        return f"{where}: {key + ': ' if key else ''}{said}{given}."
    return f"{where}: unknown key '{key}'. {_hint(kind, error['loc'][:-1], place)}"


def _keys(kind: type[BaseModel], loc: Iterable[int | str]) -> list[str]:
    """The keys of a place in a model, without the names that pydantic gives to choices in it."""
    keys: list[str] = []
    model: type[BaseModel] | None = kind
    choices: dict[str, type[BaseModel]] = {}
    is_alternative = False
    for part in map(str, loc):
        if part in choices:
            model, choices = choices[part], {}
            continue
        if not is_alternative:
            keys.append(part)
        info = model.model_fields.get(part) if model else None
        choices = _choices(info.annotation) if info else {}
        is_alternative = info is not None and not choices and _has_alternatives(info.annotation)
        model = _model_of(info.annotation) if info else None
    return keys


def _unknown_kind(key: str, context: Mapping[str, Any]) -> str:
    known = str(context["expected_tags"]).replace("'", "").split(", ")
    near = difflib.get_close_matches(str(context["tag"]), known, n=1)
    hint = f"Did you mean '{near[0]}'? " if near else ""
    return f"{key}.kind: there is no '{context['tag']}'. {hint}Known kinds: {', '.join(known)}."


def _hint(kind: type[BaseModel], loc: Iterable[int | str], place: list[str]) -> str:
    """The right key that an unknown one is nearest to: right but misplaced, or misspelt."""
    inside, key = place[:-1], place[-1]
    known = _fields(kind, loc)
    others = _kinds_with(kind, inside, key)
    if others:
        return f"It belongs to {'.'.join(inside)}.kind {' or '.join(others)}; known here: {known}."
    full = {name.split(".")[-1]: name for name in reversed(_flat_fields(kind))}
    full |= {name: ".".join([*inside, name]) for name in known}
    near = difflib.get_close_matches(key, full, n=1)
    if near:
        return f"Did you mean '{full[near[0]]}'?"
    return f"Known keys{' in ' + repr('.'.join(inside)) if inside else ''}: {sorted(known)}."


def _fields(kind: type[BaseModel], loc: Iterable[int | str]) -> list[str]:
    model: type[BaseModel] = kind
    choices: dict[str, type[BaseModel]] = {}
    for part in map(str, loc):
        if part in choices:
            model, choices = choices[part], {}
            continue
        info = model.model_fields.get(part)
        inner = _model_of(info.annotation) if info else None
        if info is None or inner is None:
            return []
        model, choices = inner, _choices(info.annotation)
    return list(model.model_fields)


def _kinds_with(kind: type[BaseModel], place: list[str], key: str) -> list[str]:
    """The choices of a place that have such a key, where there are choices."""
    if len(place) != 1 or place[0] not in kind.model_fields:
        return []
    choices = _choices(kind.model_fields[place[0]].annotation)
    return [name for name, model in choices.items() if key in model.model_fields]


def _flat_fields(kind: type[BaseModel], prefix: str = "") -> list[str]:
    names = []
    for name, info in kind.model_fields.items():
        names.append(prefix + name)
        inner = _model_of(info.annotation)
        for model in _choices(info.annotation).values() or ([] if inner is None else [inner]):
            names += _flat_fields(model, f"{prefix}{name}.")
    return list(dict.fromkeys(names))


def _model_of(annotation: Any) -> type[BaseModel] | None:
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        found = [_model_of(part) for part in typing.get_args(annotation)]
        return next((model for model in found if model is not None), None)
    if typing.get_origin(annotation) is typing.Annotated:
        return _model_of(typing.get_args(annotation)[0])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return None


def _has_alternatives(annotation: Any) -> bool:
    """Whether a value may be of several types, other than null."""
    parts = [part for part in typing.get_args(annotation) if part is not type(None)]
    return typing.get_origin(annotation) in (types.UnionType, typing.Union) and len(parts) > 1


def _choices(annotation: Any) -> dict[str, type[BaseModel]]:
    """The models of a union that are told apart by their tags, by these."""
    found: dict[str, type[BaseModel]] = {}
    for part in typing.get_args(annotation):
        tags = [tag.tag for tag in getattr(part, "__metadata__", ()) if isinstance(tag, Tag)]
        model = _model_of(part)
        if tags and model is not None:
            found[tags[0]] = model
    return found


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
