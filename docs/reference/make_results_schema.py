"""Write results.schema.json, and the tables of fields in results-schema.md, from pfh.results.records.

Run it after a field was added: `python docs/reference/make_results_schema.py`. A test compares
both files with the models.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pfh.results.records import RunResults

FOLDER = Path(__file__).parent
MARK = "<!-- The rest is written by make_results_schema.py. -->\n"


def schema_json() -> str:
    """Return the JSON schema of results.json."""
    return json.dumps(RunResults.model_json_schema(), indent=1, ensure_ascii=False) + "\n"


def page() -> str:
    """Return docs/reference/results-schema.md: its prose as it is, its tables made anew."""
    prose = (FOLDER / "results-schema.md").read_text(encoding="utf-8").partition(MARK)[0]
    schema = RunResults.model_json_schema()
    records = {"RunResults": schema} | schema["$defs"]
    return prose + MARK + "".join(_section(name, records[name]) for name in _reached("RunResults", records))


def _reached(name: str, records: dict[str, Any]) -> list[str]:
    """Return the records in the order in which a reader of the file meets them."""
    found = [name]
    for record in found:
        text = json.dumps(records[record]["properties"])
        found += sorted(
            (other for other in records if f'"#/$defs/{other}"' in text and other not in found), key=text.index
        )
    return found


def _section(name: str, record: dict[str, Any]) -> str:
    rows = [
        f"| `{field}` | {_kind(spec)} | {spec['description'].replace('|', '&#124;')} |"
        for field, spec in record["properties"].items()
    ]
    head = [f"\n## {name}\n", f"{record['description'].splitlines()[0]}\n"]
    return "\n".join([*head, "| Field | Type | Meaning |", "| --- | --- | --- |", *rows]) + "\n"


def _kind(spec: dict[str, Any]) -> str:
    if "$ref" in spec:
        name = spec["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in spec:
        return " or ".join(_kind(option) for option in spec["anyOf"])
    if "const" in spec or "enum" in spec:
        return " or ".join(f'`"{value}"`' for value in spec.get("enum", [spec.get("const")]))
    if spec.get("type") == "array":
        return f"list of {_kind(spec['items'])}" if "items" in spec else "list"
    if spec.get("type") == "object":
        values = spec.get("additionalProperties")
        return f"object of {_kind(values)}" if isinstance(values, dict) else "object"
    return str(spec.get("type", "anything"))


if __name__ == "__main__":
    (FOLDER / "results.schema.json").write_text(schema_json(), encoding="utf-8")
    (FOLDER / "results-schema.md").write_text(page(), encoding="utf-8")
