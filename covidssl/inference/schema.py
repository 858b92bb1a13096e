"""The JSON schema of a scan's answer, as it is published in `docs/schemas/`."""

from __future__ import annotations

import json
import sys
from typing import Any

from covidssl.answers import Answer

NAME = "answer.schema.json"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def answer_schema() -> dict[str, Any]:
    """The schema of `scans/<stem>.json`."""
    return {"$schema": _DIALECT, **Answer.model_json_schema(mode="serialization")}


def schema_text() -> str:
    """The schema as its file holds it."""
    return json.dumps(answer_schema(), indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
