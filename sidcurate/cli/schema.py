"""`sidcurate schema`: the JSON Schemas of all records, made from the models."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sidcurate.cli.output import write_output
from sidcurate.errors import UsageError

if TYPE_CHECKING:
    from pydantic import BaseModel


@click.command(short_help="Print or write the JSON Schemas of the records.")
@click.argument("name", required=False)
@click.option(
    "--write",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Write one file a record below this folder instead of printing.",
)
def command(name: str | None, folder: Path | None) -> None:
    """Print the JSON Schema of a record (capture, pair, unpaired, finding, limits), or of all of them."""
    models = published()
    if name is not None and name not in models:
        raise UsageError(f"no record is called {name!r}; there are {', '.join(models)}")
    chosen = {name: models[name]} if name else models
    if folder is None:
        documents = {key: json_schema(key, model) for key, model in chosen.items()}
        click.echo(rendered(documents[name] if name else documents), nl=False)
        return
    for key, model in chosen.items():
        write_output(folder / relative_path(key), [rendered(json_schema(key, model)).encode()])


def published() -> "dict[str, type[BaseModel]]":
    """Return the models whose schemas are published, by name."""
    from sidcurate.rules import Limits
    from sidcurate.schemas import RECORDS

    models: tuple[type[BaseModel], ...] = (*RECORDS, Limits)
    return {model.__name__.lower(): model for model in models}


def json_schema(name: str, model: "type[BaseModel]") -> dict[str, Any]:
    """Return the JSON Schema of one model, with its dialect, its identity and its version."""
    from sidcurate.schemas import SCHEMA_VERSION

    identity = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:sidcurate:schema:v{SCHEMA_VERSION}:{name}",
        "version": SCHEMA_VERSION,
    }
    return {**identity, **model.model_json_schema()}


def relative_path(name: str) -> Path:
    """Return where a schema stands below the folder of schemas."""
    from sidcurate.schemas import SCHEMA_VERSION

    return Path(f"v{SCHEMA_VERSION}") / f"{name}.schema.json"


def rendered(document: dict[str, Any]) -> str:
    """Return a document as it is written: the same bytes for the same content."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
