"""Alerts and the dashboard ask for metrics that there are."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from infermesh_common.telemetry.registry import METRICS, Kind
from tools import chart
from tools.cluster_tools import ToolMissing
from tools.promtool import promtool_path

Render = Callable[[str], list[chart.Object]]
NAME = re.compile(r"\b(?:infermesh|envoy|process)_[a-z0-9_]+|\bup\b")
DASHBOARD = chart.CHART / "dashboards" / "infermesh.json"
# Envoy's own, and those of the Prometheus client library.
FOREIGN = {
    "envoy_cluster_membership_healthy",
    "envoy_http_downstream_rq_xx",
    "envoy_server_days_until_first_cert_expiring",
    "process_resident_memory_bytes",
    "up",
}


def _alerts(rendered: Render) -> list[dict[str, Any]]:
    (rule,) = [part for part in rendered("monitoring") if part["kind"] == "PrometheusRule"]
    spec = rule["spec"]
    assert isinstance(spec, dict)
    return [alert for group in spec["groups"] for alert in group["rules"]]


def _panels() -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    return panels


def _plain(expression: str) -> str:
    """Without what Grafana fills in."""
    for name, value in (("$__rate_interval", "5m"), ("$__range", "6h"), ("$namespace", "mesh")):
        expression = expression.replace(name, value)
    return re.sub(r"\$\w+", ".*", expression)


def _expressions() -> Iterator[str]:
    for panel in _panels():
        for target in panel.get("targets", []):
            yield _plain(target["expr"])


def _selected(expression: str) -> Iterator[tuple[str, set[str]]]:
    """(metric, labels asked for) of each selector."""
    for name, matchers in re.findall(r"([a-z_:][a-z0-9_:]*)\{([^}]*)\}", expression):
        yield name, set(re.findall(r"(\w+)(?:=~|!~|!=|=)\"", matchers))


def _base(name: str) -> str:
    spec = METRICS.get(re.sub(r"_(bucket|sum|count)$", "", name))
    return spec.name if spec is not None and spec.kind is Kind.HISTOGRAM else name


def _assert_known(expression: str) -> None:
    promql_parser.parse(expression)
    found = list(_selected(expression))
    assert found, expression
    for name, labels in found:
        if name in FOREIGN:
            continue
        spec = METRICS[_base(name)]
        assert labels <= {*spec.labels, "namespace", "job"}, expression


def test_alerts_ask_for_metrics_and_labels_that_there_are(rendered: Render) -> None:
    for alert in _alerts(rendered):
        _assert_known(alert["expr"])


@pytest.mark.parametrize("expression", list(_expressions()))
def test_the_dashboard_asks_for_metrics_and_labels_that_there_are(expression: str) -> None:
    _assert_known(expression)


def test_a_metric_that_there_is_not_would_be_noticed() -> None:
    with pytest.raises(KeyError):
        _assert_known('sum(infermesh_no_such_metric{namespace="mesh"})')


def test_labels_that_texts_mention_are_those_of_the_result(rendered: Render) -> None:
    for alert in _alerts(rendered):
        texts = " ".join(alert["annotations"].values())
        for label in re.findall(r"\$labels\.(\w+)", texts):
            assert re.search(rf"by \([^)]*\b{label}\b", alert["expr"]), alert["alert"]


def test_every_alert_says_what_to_do(rendered: Render) -> None:
    alerts = _alerts(rendered)

    assert len({alert["alert"] for alert in alerts}) == len(alerts) >= 10
    for alert in alerts:
        assert alert["labels"] == {"severity": alert["labels"]["severity"], "team": "platform"}
        assert alert["labels"]["severity"] in ("critical", "warning")
        assert len(alert["annotations"]["description"]) > 20


def test_alerts_cover_what_makes_a_mesh_useless(rendered: Render) -> None:
    text = " ".join(alert["expr"] for alert in _alerts(rendered))

    for metric in (
        "envoy_cluster_membership_healthy",
        "infermesh_rpc_requests_total",
        "infermesh_identity_snapshot_age_seconds",
        "infermesh_breaker_state",
        "infermesh_ledger_lag_events",
        "envoy_server_days_until_first_cert_expiring",
    ):
        assert metric in text


def test_the_dashboard_shows_what_is_promised() -> None:
    text = " ".join(_expressions())

    for metric in (
        "infermesh_inference_saved_usd_total",
        "infermesh_inference_cost_usd_total",
        "infermesh_inferences_total",
        "infermesh_stage_duration_seconds_bucket",
        "infermesh_provider_requests_total",
    ):
        assert metric in text


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in _panels():
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in _panels()}) == len(_panels())


def test_what_is_scraped_is_what_is_served(rendered: Render) -> None:
    objects = rendered("monitoring")
    (services,) = [p for p in objects if p["kind"] == "ServiceMonitor"]
    (pods,) = [p for p in objects if p["kind"] == "PodMonitor"]
    ports = {
        port["name"]
        for part in objects
        if part["kind"] == "Service" and isinstance(spec := part["spec"], dict)
        for port in spec["ports"]
    }
    assert isinstance(services["spec"], dict) and isinstance(pods["spec"], dict)

    assert {e["port"] for e in services["spec"]["endpoints"]} <= ports
    assert {e["port"] for e in pods["spec"]["podMetricsEndpoints"]} == {"stats"}


def test_promtool_accepts_the_alerts(rendered: Render, tmp_path: Path) -> None:
    (rule,) = [part for part in rendered("monitoring") if part["kind"] == "PrometheusRule"]
    try:
        promtool = promtool_path()
    except ToolMissing as error:
        pytest.skip(str(error))
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump(rule["spec"]), "utf-8")
    done = subprocess.run(
        [str(promtool), "check", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
