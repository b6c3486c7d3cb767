"""Names of metrics and log fields are declared before they are used, in the whole repository."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from infermesh_common.telemetry.registry import LOG_FIELDS, METRICS, SPAN_ATTRIBUTES

ROOT = Path(__file__).parents[4]
KINDS = {"counter", "gauge", "histogram"}
# Declared and not used: each with the reason why it is declared already.
NOT_USED_YET: dict[str, str] = {}


def sources() -> list[Path]:
    found = [
        path
        for place in ("libs/*/src", "services/*/src", "deploy/*/src")
        for folder in ROOT.glob(place)
        for path in folder.rglob("*.py")
        if "_pb2" not in path.name
    ]
    assert len(found) > 50, "the repository is not where it is looked for"
    return found


@pytest.fixture(scope="module")
def nodes() -> list[tuple[Path, ast.AST]]:
    """Every node of every source file of the repository."""
    return [
        (path.relative_to(ROOT), node)
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
    ]


def metric_names(nodes: list[tuple[Path, ast.AST]]) -> Iterator[tuple[str, str, str]]:
    """(place, kind, name) of every metric that is asked for."""
    for path, node in nodes:
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr in KINDS and node.args:
            place = f"{path}:{node.lineno}"
            argument = node.args[0]
            assert isinstance(argument, ast.Constant), f"{place}: the name must be a literal"
            yield place, node.func.attr, str(argument.value)


def log_fields(nodes: list[tuple[Path, ast.AST]]) -> Iterator[tuple[str, str]]:
    """(place, name) of every field that a handler adds to its log line."""
    for path, node in nodes:
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute):
            if node.value.attr == "log_fields" and isinstance(node.slice, ast.Constant):
                yield f"{path}:{node.lineno}", str(node.slice.value)
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "update"
            and isinstance(node.func.value, ast.Attribute)
            and node.func.value.attr == "log_fields"
        ):
            for keyword in node.keywords:
                if keyword.arg is not None:
                    yield f"{path}:{node.lineno}", keyword.arg


def test_every_metric_that_is_used_is_declared_as_it_is_used(
    nodes: list[tuple[Path, ast.AST]],
) -> None:
    used = list(metric_names(nodes))
    assert len(used) > 10
    wrong = [
        f"{place}: {kind} {name}"
        for place, kind, name in used
        if name not in METRICS or METRICS[name].kind.value != kind
    ]
    assert wrong == []


def test_every_metric_that_is_declared_is_used(nodes: list[tuple[Path, ast.AST]]) -> None:
    used = {name for _, _, name in metric_names(nodes)}
    assert set(METRICS) - used == set(NOT_USED_YET)


def test_every_field_that_a_handler_logs_is_declared(nodes: list[tuple[Path, ast.AST]]) -> None:
    used = list(log_fields(nodes))
    assert len(used) > 3
    assert [f"{place}: {name}" for place, name in used if name not in LOG_FIELDS] == []


def test_every_span_attribute_that_is_named_is_declared(
    nodes: list[tuple[Path, ast.AST]],
) -> None:
    named = {
        node.value
        for _, node in nodes
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.startswith("gen_ai.")
    }
    assert named <= SPAN_ATTRIBUTES


def test_every_metric_that_a_document_names_is_declared() -> None:
    documents = [
        path
        for place in ("*.md", "docs/**/*.md", "services/*/*.md", "deploy/**/*.md")
        for path in ROOT.glob(place)
    ]
    assert documents
    named = {
        (str(path.relative_to(ROOT)), name)
        for path in documents
        for name in re.findall(r"\binfermesh_[a-z_]+_(?:total|seconds|usd)\b", path.read_text())
    }
    assert {(path, name) for path, name in named if name not in METRICS} == set()
