"""The published JSON Schemas are those of the models, and every field says what it is."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from factories import capture

from sidcurate.cli import main
from sidcurate.cli.schema import json_schema, published, relative_path, rendered

ROOT = Path(__file__).parents[1] / "schemas"
MODELS = published()


@pytest.mark.parametrize("name", MODELS)
def test_the_committed_schema_is_the_generated_one(name):
    assert (ROOT / relative_path(name)).read_text(encoding="utf-8") == rendered(json_schema(name, MODELS[name])), (
        "run `make schemas`"
    )


def test_no_schema_is_left_of_a_record_that_is_gone():
    assert {path.relative_to(ROOT) for path in ROOT.rglob("*.json")} == {relative_path(name) for name in MODELS}


@pytest.mark.parametrize("name", MODELS)
def test_every_field_has_a_description(name):
    for field, facts in MODELS[name].model_fields.items():
        assert facts.description, f"{name}.{field}"


@pytest.mark.parametrize("name", MODELS)
def test_every_schema_has_an_identity_and_a_version(name):
    schema = json_schema(name, MODELS[name])
    assert schema["$id"] == f"urn:sidcurate:schema:v1:{name}"
    assert schema["version"] == 1
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("suffix", ["_s", "_mm", "_dn", "_px"])
def test_a_name_that_ends_in_a_unit_has_that_unit(suffix):
    units = {"_s": "s", "_mm": "mm", "_dn": "DN", "_px": "px"}
    for model in MODELS.values():
        for name, facts in model.model_fields.items():
            if name.endswith(suffix):
                assert (facts.json_schema_extra or {}).get("unit") == units[suffix], name


def test_a_record_has_exactly_the_fields_of_its_schema():
    schema = json_schema("capture", MODELS["capture"])
    assert set(capture().model_dump()) == set(schema["properties"])


def test_the_verb_prints_one_schema_or_all(tmp_path):
    one = CliRunner().invoke(main, ["schema", "pair"])
    assert json.loads(one.stdout)["title"] == "Pair"
    assert set(json.loads(CliRunner().invoke(main, ["schema"]).stdout)) == set(MODELS)


def test_the_verb_writes_what_is_committed(tmp_path):
    done = CliRunner().invoke(main, ["schema", "--write", str(tmp_path)])
    assert done.exit_code == 0
    for name in MODELS:
        assert (tmp_path / relative_path(name)).read_bytes() == (ROOT / relative_path(name)).read_bytes()


def test_an_unknown_record_exits_2():
    done = CliRunner().invoke(main, ["schema", "picture"])
    assert done.exit_code == 2
    assert "there are capture, pair, unpaired, finding, limits" in done.stderr
