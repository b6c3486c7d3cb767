"""The custom resource definitions of the chart say what the kinds say."""

import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from infermesh_common.resources.declaration import plural, short_name
from infermesh_common.resources.resource_set import parse
from infermesh_common.resources.types import KINDS
from tools import crds

Schema = dict[str, Any]


@cache
def definitions() -> dict[str, Schema]:
    return {name: yaml.safe_load(text) for name, text in crds.render().items()}


def schema_of(kind: str) -> Schema:
    (version,) = definitions()[f"{plural(kind)}.yaml"]["spec"]["versions"]
    found: Schema = version["schema"]["openAPIV3Schema"]
    return found


def every(schema: Schema) -> Iterator[Schema]:
    yield schema
    for inner in schema.get("properties", {}).values():
        yield from every(inner)
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from every(schema[key])


def test_the_files_in_the_chart_are_in_step_with_the_kinds() -> None:
    assert crds.drift(crds.FOLDER) == []


def test_drift_is_found_and_mended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "crds"
    shutil.copytree(crds.FOLDER, folder)
    assert crds.main("check", folder) == 0
    (folder / "models.yaml").unlink()
    (folder / "tenants.yaml").write_text("{}")
    (folder / "gone.yaml").write_text("{}")
    assert crds.main("check", folder) == 1
    assert capsys.readouterr().err.split()[-3:] == ["gone.yaml", "models.yaml", "tenants.yaml"]
    assert crds.main("generate", folder) == 0
    assert crds.main("check", folder) == 0
    assert crds.main("", folder) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_definition_with_a_status(kind: str) -> None:
    definition = definitions()[f"{plural(kind)}.yaml"]
    spec = definition["spec"]
    assert spec["names"]["kind"] == kind and spec["scope"] == "Namespaced"
    assert spec["names"]["categories"] == ["infermesh"]
    (version,) = spec["versions"]
    assert version["subresources"] == {"status": {}}
    status = schema_of(kind)["properties"]["status"]["properties"]
    assert status["conditions"]["x-kubernetes-list-map-keys"] == ["type"]
    titles = [column["name"] for column in version["additionalPrinterColumns"]]
    assert {"Accepted", "Ready", "Reason", "Age"} <= set(titles)


@pytest.mark.parametrize("kind", KINDS)
def test_columns_lead_to_fields_that_there_are(kind: str) -> None:
    for column in KINDS[kind].columns:
        schema = schema_of(kind)["properties"]["spec"]
        for part in column.field.split("."):
            schema = schema["properties"][part]
        assert schema["type"] == column.type


@pytest.mark.parametrize("kind", KINDS)
def test_schemas_are_structural(kind: str) -> None:
    for schema in every(schema_of(kind)):
        assert schema.get("type") or schema.get("x-kubernetes-preserve-unknown-fields")
        assert not {"$ref", "$defs", "anyOf", "allOf", "oneOf", "default"} & schema.keys()
        assert not ({"properties", "additionalProperties"} <= schema.keys())


def test_fields_are_described() -> None:
    spec = schema_of("Provider")["properties"]["spec"]["properties"]
    assert spec["region"]["description"] == "AWS region that calls are signed for (bedrock)."
    assert spec["maxConcurrent"]["description"].endswith("Default: 64.")
    for kind in KINDS:
        for name, field in schema_of(kind)["properties"]["spec"]["properties"].items():
            assert field.get("description"), f"{kind}.{name}"


def test_rules_between_fields_come_along() -> None:
    spec = schema_of("Provider")["properties"]["spec"]
    messages = [rule["message"] for rule in spec["x-kubernetes-validations"]]
    assert messages == ["give either auth or keys, not both", "bedrock needs a region"]
    auth = spec["properties"]["auth"]["x-kubernetes-validations"]
    assert [rule["message"] for rule in auth] == ["give exactly one of file, secret or vault"]


@pytest.mark.parametrize(
    ("kind", "plural_name", "short"),
    [("Provider", "providers", "imp"), ("RoutePolicy", "routepolicies", "imrp")]
    + [("ApiKey", "apikeys", "imak"), ("Day", "days", "imd")],
)
def test_names_follow_from_the_kind(kind: str, plural_name: str, short: str) -> None:
    assert (plural(kind), short_name(kind)) == (plural_name, short)


@pytest.mark.parametrize(
    "field",
    [{"anyOf": [{"type": "string"}, {"type": "integer"}]}, {"type": ["string", "boolean"]}],
)
def test_what_a_definition_cannot_say_is_an_error(field: Schema) -> None:
    with pytest.raises(ValueError, match="alternatives"):
        crds._Structural()._field(field, "", {})


def as_json_schema(schema: Schema) -> Schema:
    """What an API server makes of a definition, without its rules: unknown fields are refused."""
    found = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes")}
    if found.pop("exclusiveMaximum", False):
        found["exclusiveMaximum"] = found.pop("maximum")
    for key in ("items", "additionalProperties"):
        if key in found:
            found[key] = as_json_schema(found[key])
    if "properties" in found:
        inner = {name: as_json_schema(field) for name, field in found["properties"].items()}
        found |= {"properties": inner, "additionalProperties": False}
    if found.pop("nullable", False):
        found = {"anyOf": [{"type": "null"}, found]}
    return found


@settings(max_examples=40)
@given(data=st.data())
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_valid_in_a_file_is_valid_in_a_cluster(
    kind: str, data: st.DataObject, documents: Any
) -> None:
    document = data.draw(documents(kind))
    try:
        parse(document, "")
    except ValueError:
        return  # breaks a rule between fields
    jsonschema.validate(document["spec"], as_json_schema(schema_of(kind)["properties"]["spec"]))


def test_whatever_is_invalid_in_a_file_is_invalid_in_a_cluster(
    invalid_documents: list[tuple[str, Schema]],
) -> None:
    told_by_rules = {"two ways to sign in", "no region", "two prices", "no secret", "two secrets"}
    for what, document in invalid_documents:
        with pytest.raises(ValueError):
            parse(document, "")
        schema = as_json_schema(schema_of(document["kind"])["properties"]["spec"])
        valid = jsonschema.Draft202012Validator(schema).is_valid(document["spec"])
        assert valid == (what in told_by_rules), what
