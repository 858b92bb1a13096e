"""YAML 1.2 as configurations are written in it: read and written without surprises.

The core schema of YAML 1.2.2, section 10.3.2, but that `0o17` and `0x1F` are text.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from covidssl.errors import UsageError


class _Yaml(yaml.SafeLoader):
    """YAML 1.2 scalars: `1e-3` and `010` are numbers; `no`, `on` and `2020-01-01` are text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping, without keys that stand in it twice: the first would be lost silently."""
        seen = set()
        for key in [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]:
            if key.value in seen:
                problem = f"the key '{key.value}' stands in it twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def decimal(self, node: yaml.ScalarNode) -> int:
        """An integer of base ten, whatever it begins with."""
        try:
            return int(self.construct_scalar(node), 10)
        except ValueError as error:
            problem = f"'{node.value[:20]}...' is too long" if len(node.value) > _LONG else None
            problem = problem or f"'{node.value}' is no integer"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from error


class _Writer(yaml.SafeDumper):
    """Quotes what `_Yaml` would otherwise read as something else."""


_LONG = 1000
# Dates and the `=` of YAML 1.1: text in 1.2.
_TEXT = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value")
_SCALARS: dict[str, tuple[str, str]] = {
    "tag:yaml.org,2002:bool": (r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    "tag:yaml.org,2002:int": (r"^[-+]?[0-9]+$", "-+0123456789"),
    "tag:yaml.org,2002:float": (
        r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$"
        r"|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$",
        "-+0123456789.",
    ),
}


def _use_yaml_1_2(kind: type[_Yaml] | type[_Writer]) -> None:
    kind.yaml_implicit_resolvers = {
        first: [
            (tag, pattern) for tag, pattern in resolvers if tag not in _SCALARS and tag not in _TEXT
        ]
        for first, resolvers in kind.yaml_implicit_resolvers.items()
    }
    for tag, (pattern, first) in _SCALARS.items():
        kind.add_implicit_resolver(tag, re.compile(pattern), list(first))


_Yaml.add_constructor("tag:yaml.org,2002:int", _Yaml.decimal)
_use_yaml_1_2(_Yaml)
_use_yaml_1_2(_Writer)


def parse_yaml(text: str, where: str) -> Any:
    """The value that `text` holds.

    Args:
        text: YAML.
        where: what an error names as its place.

    Raises:
        UsageError: when it is no YAML, with the line.
    """
    try:
        return yaml.load(text, Loader=_Yaml)  # noqa: S506 (a SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise UsageError(f"{where}{line}: this is no YAML: {reason}.") from error
    except RecursionError as error:
        raise UsageError(f"{where}: this is no YAML: it is nested too deeply.") from error
    # What a tag such as `!!float` says of its text, and the text does not keep.
    except (ValueError, LookupError, AttributeError) as error:
        raise UsageError(f"{where}: this is no YAML: a value does not fit its tag.") from error


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file; an empty file has none.

    Raises:
        UsageError: for a missing file, no YAML, or YAML that is no mapping.
    """
    if not path.is_file():
        raise UsageError(f"{path}: there is no such configuration file.")
    try:
        values = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: this is no YAML: it is no UTF-8 text.") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UsageError(f"{path}: expected keys and values, got {type(values).__name__}.")
    return values


def write_yaml(values: Any) -> str:
    """`values` as YAML that `parse_yaml` reads back the same."""
    return yaml.dump(values, Dumper=_Writer, sort_keys=False, default_flow_style=None)
