"""Values: every one is checked, described, and does something."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest
import yaml

from tools import chart

Json = Mapping[str, object]
SUB_CHARTS = ("redis", "milvus", "vault", "model")
COMPONENTS = ("router", "cache", "governance", "analytics", "envoy")
SAMPLES = yaml.safe_load((Path(__file__).parent / "values_that_differ.yaml").read_text("utf-8"))
DATABASE: Json = {"externalDatabase": {"enabled": True, "url": "postgresql+psycopg://u@h/d"}}
OUTSIDE_REDIS: Json = {"redis": {"enabled": False}, "externalRedis": {"url": "redis://h/0"}}
TESTED_ELSEWHERE = {"networkPolicy.apiServer.discover", "redis.enabled"}
"""A value that acts on what the chart finds in the cluster, and one that cannot change alone."""


def _schema(name: str = "") -> Json:
    folder = chart.CHART / "charts" / name if name else chart.CHART
    schema: Json = json.loads((folder / "values.schema.json").read_text("utf-8"))
    return schema


def _leaves(schema: Json, node: Json, path: str = "") -> Iterator[tuple[str, Json, str]]:
    """(path, schema, name of its definition) of every value."""
    definition = ""
    if isinstance(reference := node.get("$ref"), str):
        definition = reference.rsplit("/", 1)[1]
        node = _part(schema, "definitions", definition)
    properties = node.get("properties")
    if node.get("additionalProperties") is False and isinstance(properties, dict):
        for name, part in properties.items():
            yield from _leaves(schema, part, f"{path}.{name}" if path else name)
    else:
        yield path, node, definition


def _part(schema: Json, *names: str) -> Json:
    found: object = schema
    for name in names:
        assert isinstance(found, Mapping)
        found = found[name]
    assert isinstance(found, Mapping)
    return found


def _all_leaves() -> dict[str, tuple[Json, str]]:
    schema = _schema()
    found = {path: (node, name) for path, node, name in _leaves(schema, schema)}
    for sub in SUB_CHARTS:
        schema = _schema(sub)
        for path, node, name in _leaves(schema, schema):
            # Both are the chart's own.
            if not path.startswith("global."):
                found[f"{sub}.{path}"] = (node, name)
        found.pop(sub)
    return found


def _get(values: object, path: str) -> object:
    for name in path.split("."):
        values = values.get(name) if isinstance(values, dict) else None
    return values


def _nested(path: str, value: object) -> Json:
    for name in reversed(path.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def _merged(base: Json, over: Json) -> dict[str, object]:
    result = dict(base)
    for name, value in over.items():
        old = result.get(name)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            result[name] = _merged(old, value)
        else:
            result[name] = value
    return result


def _defaults() -> dict[str, object]:
    values: dict[str, object] = yaml.safe_load((chart.CHART / "values.yaml").read_text("utf-8"))
    for sub in SUB_CHARTS:
        own = yaml.safe_load((chart.CHART / "charts" / sub / "values.yaml").read_text("utf-8"))
        values = _merged({sub: own}, values)
    return values


DEFAULTS = _defaults()
LEAVES = _all_leaves()


def _default(path: str) -> object:
    """The default of a leaf; that of a component may be the one for all."""
    own = _get(DEFAULTS, path)
    first, _, rest = path.partition(".")
    return _get(DEFAULTS, f"defaults.{rest}") if own is None and first in COMPONENTS else own


def _other(path: str, node: Json, definition: str) -> object:
    """A valid value that is not the default."""
    default = _default(path)
    for known in (path, "*." + path.partition(".")[2]):
        if known in SAMPLES["by_path"]:
            return SAMPLES["by_path"][known]
    if definition in SAMPLES["by_definition"]:
        return SAMPLES["by_definition"][definition]
    choices = node.get("enum")
    if isinstance(choices, list):
        return next(choice for choice in choices if choice not in (default, ""))
    if node.get("type") == "boolean":
        return not default
    if node.get("type") == "integer":
        return int(str(default or 0)) + 30000 if "ort" in path else int(str(default or 0)) + 1
    if node.get("type") == "number":
        return 0.75
    if node.get("type") == "array":
        return ["sample.example.com"]
    return "sample"


def _context(path: str) -> Json:
    for pattern, values in SAMPLES["contexts"]:
        if re.match(pattern, path):
            found: Json = values
            return found
    return {}


def _shared_context(rest: str) -> Json:
    """Without which a value of a component has no effect."""
    if rest.startswith("podDisruptionBudget."):
        return {"replicas": 2}
    if rest.startswith("autoscaling.") and rest != "autoscaling.enabled":
        return {"autoscaling": {"enabled": True, "targetRequestsInFlight": 9}}
    if rest == "serviceAccount.create":
        return {"serviceAccount": {"name": "given"}}
    return {}


def _shared() -> list[str]:
    """Values that every component has, without the component."""
    paths = [path.partition(".")[2] for path in LEAVES if path.startswith("router.")]
    return sorted(rest for rest in paths if all(f"{c}.{rest}" in LEAVES for c in COMPONENTS))


def _single() -> list[str]:
    shared = {f"{component}.{rest}" for component in COMPONENTS for rest in _shared()}
    return sorted(set(LEAVES) - shared - TESTED_ELSEWHERE)


@pytest.mark.parametrize("path", _single())
def test_every_value_changes_what_is_rendered(path: str) -> None:
    context = _context(path)
    value = _other(path, *LEAVES[path])
    assert value != _get(_merged(DEFAULTS, context), path), "the sample is the default"

    changed = chart.masked(chart.render(_merged(context, _nested(path, value))))

    assert changed != _rendered(json.dumps(_without_effect(path, context)))


@pytest.mark.parametrize("rest", _shared())
def test_every_value_of_a_component_changes_its_objects(rest: str) -> None:
    own = {component: _shared_context(rest) for component in COMPONENTS}
    context = _merged(DATABASE, own)
    changed = context
    for component in COMPONENTS:
        path = f"{component}.{rest}"
        changed = _merged(changed, _nested(path, _other(path, *LEAVES[path])))

    before, after = _rendered(json.dumps(context)), chart.masked(chart.render(changed))

    for component in COMPONENTS:
        assert _of(component, before) != _of(component, after), component


def _of(component: str, objects: list[chart.Object]) -> list[chart.Object]:
    label = "app.kubernetes.io/component"
    return [part for part in objects if _labels(part).get(label) == component]


def _labels(part: chart.Object) -> Mapping[str, object]:
    return _part(part, "metadata", "labels")


@cache
def _rendered(values: str) -> list[chart.Object]:
    return chart.masked(chart.render(json.loads(values)))


def _without_effect(path: str, context: Json) -> Json:
    """The context alone; where the value itself is required, another one of it."""
    return _merged(context, SAMPLES["instead"].get(path, {}))


def test_every_object_of_the_schema_is_closed_or_free_on_purpose() -> None:
    for name in ("", *SUB_CHARTS):
        schema = _schema(name)
        _assert_closed(schema, name or "infermesh", "definitions" in schema)


def _assert_closed(node: object, path: str, top: bool = False) -> None:
    if isinstance(node, list):
        for part in node:
            _assert_closed(part, path)
    if not isinstance(node, dict):
        return
    if node.get("type") == "object":
        free = "description" in node or path.endswith(("stringMap", "objects/items"))
        assert node.get("additionalProperties") is False or free, path
    for key, part in node.items():
        _assert_closed(part, f"{path}/{key}")


@pytest.mark.parametrize("name", ["", *SUB_CHARTS])
def test_every_default_is_known_to_the_schema_and_the_other_way_round(name: str) -> None:
    folder = chart.CHART / "charts" / name if name else chart.CHART
    values = yaml.safe_load((folder / "values.yaml").read_text("utf-8"))
    schema = _schema(name)
    leaves = [path for path, _, _ in _leaves(schema, schema)]
    handed = ("global.", "enabled") if name else ("redis", "milvus", "model", "vault")

    for path in leaves:
        if path.startswith(handed):
            continue
        first, _, rest = path.partition(".")
        shared = first in COMPONENTS and _get(values, f"defaults.{rest}") is not None
        assert _get(values, path) is not None or shared, f"{path} has no default"
    for path in _paths(values):
        assert any(path == leaf or path.startswith(leaf + ".") for leaf in leaves), path


def _paths(values: object, path: str = "") -> Iterator[str]:
    if isinstance(values, dict) and values:
        for name, part in values.items():
            yield from _paths(part, f"{path}.{name}" if path else name)
    else:
        yield path


@pytest.mark.parametrize("file", ["values.yaml", *(f"charts/{s}/values.yaml" for s in SUB_CHARTS)])
def test_every_value_is_described(file: str) -> None:
    described = True
    within: int | None = None
    for number, line in enumerate((chart.CHART / file).read_text("utf-8").splitlines(), 1):
        indent = len(line) - len(line.lstrip())
        if within is not None and line.strip() and indent <= within:
            within = None
        if line.lstrip().startswith("# --"):
            described = True
        elif re.match(r"\s*[\w-]+:( |$)", line) and within is None:
            is_leaf = not line.rstrip().endswith(":")
            if described:
                # What stands below a described map belongs to it.
                within = indent if not is_leaf else None
            else:
                assert not is_leaf, f"{file}:{number}: {line.strip()}"
            described = False
        elif not line.strip():
            described = False


def test_the_bundled_redis_goes_when_another_is_stated() -> None:
    outside = {chart.identifier(part) for part in chart.render(OUTSIDE_REDIS)}
    bundled = {chart.identifier(part) for part in _rendered("{}")}

    assert "StatefulSet/infermesh-redis" in bundled
    assert not any(name.endswith("-redis") for name in outside)


def test_a_value_that_is_misspelt_is_refused() -> None:
    misspelt: tuple[Json, ...] = (
        {"routr": {}},
        {"router": {"replica": 2}},
        {"redis": {"persistance": {}}},
        {"model": {"slot": 1}},
        {"envoy": {"tls": {"mode": "on"}}},
        {"global": {"registry": "x"}},
        {"router": {"image": {"tag": "latest"}}},
    )
    for wrong in misspelt:
        with pytest.raises(chart.ChartError, match="schema"):
            chart.render(wrong)


def test_a_service_has_its_own_values_before_those_of_all() -> None:
    values = {"defaults": {"replicas": 3, "podLabels": {"a": "1"}}, "router": {"replicas": 0}}
    replicas = {
        chart.identifier(part): _get(part, "spec.replicas")
        for part in chart.render(_merged(DATABASE, values))
    }

    assert replicas["Deployment/infermesh-router"] == 0
    assert replicas["Deployment/infermesh-cache"] == 3
