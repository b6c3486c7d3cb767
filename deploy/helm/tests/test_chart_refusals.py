"""Values that cannot work or are not safe are refused with a sentence."""

import re
from collections.abc import Mapping

import pytest
import yaml

from tools import chart

DATABASE = "postgresql+psycopg://u@db/x"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"analytics": {"replicas": 2}}, "analytics keeps its data in SQLite"),
        ({"defaults": {"replicas": 2}}, "analytics keeps its data in SQLite"),
        ({"defaults": {"autoscaling": {"enabled": True}}}, "analytics keeps its data in SQLite"),
        ({"redis": {"enabled": False}}, "state where Redis is"),
        ({"externalRedis": {"url": "redis://other"}}, "choose one"),
        (
            {"redis": {"enabled": False}, "externalRedis": {"url": "redis://u:secret@h"}},
            "externalRedis.url holds a password",
        ),
        (
            {"milvus": {"enabled": True}, "externalMilvus": {"uri": "http://other:19530"}},
            "externalMilvus.uri is given: choose one",
        ),
        (
            {"externalMilvus": {"existingSecret": {"name": "x"}}},
            "externalMilvus.existingSecret needs externalMilvus.uri",
        ),
        ({"judge": {"url": "http://other/v1"}}, "need judge.model"),
        (
            {"judge": {"model": "small"}, "envoy": {"tls": {"mode": "selfSigned"}}},
            "judge.url is needed where envoy.tls is on",
        ),
        ({"externalDatabase": {"enabled": True}}, "needs either externalDatabase.url or"),
        (
            {
                "externalDatabase": {
                    "enabled": True,
                    "url": DATABASE,
                    "existingSecret": {"name": "x", "urlKey": "url"},
                }
            },
            "needs either externalDatabase.url or",
        ),
        (
            {"externalDatabase": {"enabled": True, "existingSecret": {"urlKey": "url"}}},
            "needs externalDatabase.existingSecret.name",
        ),
        (
            {"externalDatabase": {"enabled": True, "url": "postgresql+psycopg://u:secret@db/x"}},
            "externalDatabase.url holds a password",
        ),
        ({"externalVault": {"enabled": True}}, "needs externalVault.address"),
        (
            {"mtls": {"enabled": True, "source": "existingSecret"}},
            "needs mtls.existingSecret",
        ),
        ({"envoy": {"tls": {"mode": "existingSecret"}}}, "needs envoy.tls.existingSecret"),
        ({"envoy": {"tls": {"mode": "certManager"}}}, "needs envoy.tls.issuerRef.name"),
        ({"gateway": {"enabled": True}}, "needs gateway.parentRefs"),
        (
            {
                "gateway": {
                    "enabled": True,
                    "parentRefs": [{"name": "g"}],
                    "hostnames": ["a.example.com"],
                    "grpcHostnames": ["a.example.com"],
                }
            },
            "does not allow a.example.com",
        ),
        (
            {
                "gateway": {"enabled": True, "parentRefs": [{"name": "g"}]},
                "envoy": {"tls": {"mode": "selfSigned"}},
            },
            "TLS ends at the Gateway",
        ),
        ({"model": {"enabled": False}}, "turn both on or both off"),
        ({"router": {"serviceAccount": {"create": False}}}, "name the ServiceAccount"),
        (
            {"router": {"autoscaling": {"enabled": True, "targetCPUUtilization": 0}}},
            "has nothing to go by",
        ),
        (
            {"router": {"autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 4}}},
            "minReplicas is above maxReplicas",
        ),
        (
            {"trial": {"enabled": False}, "test": {"existingSecret": {"name": "x"}}},
            "needs test.model",
        ),
        ({"test": {"enabled": False}, "router": {"image": {"tag": "latest"}}}, "tag"),
    ],
)
def test_an_unsafe_combination_is_refused(values: Mapping[str, object], sentence: str) -> None:
    with pytest.raises(chart.ChartError, match=sentence) as refused:
        chart.render(values)

    assert "secret@" not in str(refused.value)


def test_every_sentence_is_said_at_once() -> None:
    with pytest.raises(chart.ChartError) as refused:
        chart.render({"redis": {"enabled": False}, "analytics": {"replicas": 2}})

    assert "where Redis is" in str(refused.value)
    assert "SQLite" in str(refused.value)


@pytest.mark.parametrize(
    "values",
    [
        {"externalDatabase": {"enabled": True, "url": DATABASE}, "analytics": {"replicas": 3}},
        {
            "redis": {"enabled": False},
            "externalRedis": {"url": "rediss://someone@h:6380/1"},
        },
        {"trial": {"enabled": False}},
    ],
)
def test_what_is_safe_is_not_refused(values: Mapping[str, object]) -> None:
    assert chart.render(values)


def test_the_values_of_the_guide_are_accepted() -> None:
    guide = (chart.ROOT / "docs" / "install.md").read_text("utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)

    names = {chart.identifier(part) for part in chart.render(yaml.safe_load(block))}

    assert "Deployment/infermesh-analytics" in names
    assert not any("redis" in name or "model" in name for name in names)


def test_every_value_that_the_guide_names_exists() -> None:
    guide = (chart.ROOT / "docs" / "install.md").read_text("utf-8")
    values = yaml.safe_load((chart.CHART / "values.yaml").read_text("utf-8"))

    named = {
        tuple(path.split("."))
        for path in re.findall(r"`([a-zA-Z]+(?:\.[a-zA-Z]+)+)`", guide)
        if path.split(".")[0] in values
    }
    assert len(named) >= 10
    for path in named:
        found = values
        for name in path:
            assert name in found, ".".join(path)
            found = found[name]


def test_an_old_cluster_is_refused() -> None:
    with pytest.raises(chart.ChartError, match="kubeVersion"):
        chart.render(kube_version="1.29.0")


def test_the_chart_passes_the_checks_of_helm() -> None:
    assert chart.lint() == 0
