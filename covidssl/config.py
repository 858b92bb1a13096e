"""Configuration: one YAML an experiment, read into a frozen model that refuses surprises."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

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


def _put(values: dict[str, Any], keys: list[str], value: Any, override: str) -> None:
    for key in keys[:-1]:
        inner = {} if values.get(key) is None else values[key]
        if not isinstance(inner, dict):
            raise UsageError(f"--set {override}: '{key}' holds a value, not further keys.")
        values[key] = inner
        values = inner
    values[keys[-1]] = value


def _explain(kind: type[BaseModel], where: str, error: Mapping[str, Any]) -> str:
    place = [str(part) for part in error["loc"]]
    key = ".".join(place)
    if error["type"] != "extra_forbidden":
        given = f" (got {error['input']!r})" if not isinstance(error["input"], Mapping) else ""
        said = error["msg"].removeprefix("Value error, ")
        return f"{where}: {key + ': ' if key else ''}{said}{given}."
    return f"{where}: unknown key '{key}'. {_hint(kind, place[:-1], place[-1])}"


def _hint(kind: type[BaseModel], inside: list[str], key: str) -> str:
    """The right key that an unknown one is nearest to: right but misplaced, or misspelt."""
    known = _fields(kind, inside)
    full = {name.split(".")[-1]: name for name in reversed(_flat_fields(kind))}
    full |= {name: ".".join([*inside, name]) for name in known}
    near = difflib.get_close_matches(key, full, n=1)
    if near:
        return f"Did you mean '{full[near[0]]}'?"
    return f"Known keys{' in ' + repr('.'.join(inside)) if inside else ''}: {sorted(known)}."


def _fields(kind: type[BaseModel], place: list[str]) -> list[str]:
    model: type[BaseModel] = kind
    for key in place:
        inner = _model_of(model.model_fields[key].annotation) if key in model.model_fields else None
        if inner is None:
            return []
        model = inner
    return list(model.model_fields)


def _flat_fields(kind: type[BaseModel], prefix: str = "") -> list[str]:
    names = []
    for name, info in kind.model_fields.items():
        names.append(prefix + name)
        inner = _model_of(info.annotation)
        if inner is not None:
            names += _flat_fields(inner, f"{prefix}{name}.")
    return names


def _model_of(annotation: Any) -> type[BaseModel] | None:
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        found = [_model_of(part) for part in typing.get_args(annotation)]
        return next((model for model in found if model is not None), None)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return None


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
