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

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping, without keys that stand in it twice: the first would be lost silently."""
        seen = set()
        for key in [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]:
            if key.value in seen:
                problem = f"the key '{key.value}' stands in it twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Writer(yaml.SafeDumper):
    """Quotes what `_Yaml` would otherwise read as something else."""


_SCALARS: dict[str, tuple[str, str]] = {
    "tag:yaml.org,2002:bool": (r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    "tag:yaml.org,2002:int": (r"^[-+]?(?:0|[1-9][0-9]*)$", "-+0123456789"),
    "tag:yaml.org,2002:float": (
        r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|nan)$",
        "-+0123456789.",
    ),
}


def _use_yaml_1_2(kind: type[_Yaml] | type[_Writer]) -> None:
    kind.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in _SCALARS]
        for first, resolvers in kind.yaml_implicit_resolvers.items()
    }
    for tag, (pattern, first) in _SCALARS.items():
        kind.add_implicit_resolver(tag, re.compile(pattern), list(first))


_use_yaml_1_2(_Yaml)
_use_yaml_1_2(_Writer)


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
    values = config.model_dump(mode="json")
    return yaml.dump(values, Dumper=_Writer, sort_keys=False, default_flow_style=None)


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
    try:
        values = _parse(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: this is no YAML: it is no UTF-8 text.") from error
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
