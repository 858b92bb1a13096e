"""Configuration: one YAML an experiment, read into a frozen model that refuses surprises."""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from covidssl.errors import UsageError

C = TypeVar("C", bound=BaseModel)


class _Yaml(yaml.SafeLoader):
    """YAML 1.2 scalars: `1e-3` is a number, and `no`, `on`, `yes` are words."""


_Yaml.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:float")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|nan)$"),
    list("-+0123456789."),
)


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
    values = _read(path) if path else {}
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key:
            raise UsageError(f"--set {override}: expected key=value, such as training.steps=200.")
        _put(values, key.split("."), _parse(value, f"--set {override}"), override)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UsageError("\n".join(_explain(kind, where, e) for e in error.errors())) from error


def dump_config(config: BaseModel) -> str:
    """The resolved configuration as YAML."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, default_flow_style=None)


def changed_keys(before: BaseModel, after: BaseModel) -> list[str]:
    """Dotted keys whose values differ, as `key: before -> after`."""
    old, new = _flat(before.model_dump(mode="json")), _flat(after.model_dump(mode="json"))
    return [
        f"{key}: {old.get(key)} -> {new.get(key)}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UsageError(f"{path}: there is no such configuration file.")
    values = _parse(path.read_text(encoding="utf-8"), str(path))
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UsageError(f"{path}: expected keys and values, got {type(values).__name__}.")
    return values


def _parse(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_Yaml)  # noqa: S506 (a SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise UsageError(
            f"{where}{line}: this is no YAML: {getattr(error, 'problem', '')}."
        ) from error


def _put(values: dict[str, Any], keys: list[str], value: Any, override: str) -> None:
    for key in keys[:-1]:
        inner = values.setdefault(key, {})
        if not isinstance(inner, dict):
            raise UsageError(f"--set {override}: '{key}' holds a value, not further keys.")
        values = inner
    values[keys[-1]] = value


def _explain(kind: type[BaseModel], where: str, error: Mapping[str, Any]) -> str:
    place = [str(part) for part in error["loc"]]
    key = ".".join(place)
    if error["type"] != "extra_forbidden":
        given = f" (got {error['input']!r})" if not isinstance(error["input"], Mapping) else ""
        return f"{where}: {key}: {error['msg']}{given}."
    known = _fields(kind, place[:-1])
    near = difflib.get_close_matches(place[-1], known, n=1, cutoff=0.5)
    prefix = ".".join(place[:-1])
    hint = f"Did you mean '{'.'.join([*place[:-1], near[0]])}'?" if near else ""
    elsewhere = [name for name in _flat_fields(kind) if name.split(".")[-1] == place[-1]]
    if not near and elsewhere:
        hint = f"Did you mean '{elsewhere[0]}'?"
    inside = f" in '{prefix}'" if prefix else ""
    return f"{where}: unknown key '{key}'. {hint or f'Known keys{inside}: {sorted(known)}.'}"


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
