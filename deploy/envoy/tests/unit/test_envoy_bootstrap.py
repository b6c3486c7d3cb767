"""What the rendered bootstrap says, where waiting for it to happen would take too long."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml
from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet, MethodDescriptorProto

from infermesh_envoy import descriptor_path, parameters_from, render

CLUSTERS = {"router", "cache", "governance", "analytics"}
# RPCs between services: nobody reaches them from outside.
INTERNAL = {
    "/infermesh.cache.v1.CacheService/Lookup",
    "/infermesh.cache.v1.CacheService/Store",
    "/infermesh.cache.v1.CacheService/RenewLease",
    "/infermesh.cache.v1.CacheService/ReleaseLease",
    "/infermesh.cache.v1.CacheService/PollChanges",
    "/infermesh.cache.v1.CacheService/Exchange",
    "/infermesh.governance.v1.IdentityService/WatchIdentities",
}


@pytest.fixture(scope="module")
def bootstrap(required: Mapping[str, object]) -> Any:
    return yaml.safe_load(render(parameters_from(required)))


@pytest.fixture(scope="module")
def manager(bootstrap: Any) -> Any:
    listener = bootstrap["static_resources"]["listeners"][0]
    return listener["filter_chains"][0]["filters"][0]["typed_config"]


@pytest.fixture(scope="module")
def routes(manager: Any) -> Any:
    return manager["route_config"]["virtual_hosts"][0]["routes"]


def _methods() -> Iterator[tuple[str, str, MethodDescriptorProto]]:
    """Cluster, gRPC path and descriptor of every method in the contracts."""
    files = FileDescriptorSet.FromString(descriptor_path().read_bytes())
    for file in files.file:
        for service in file.service:
            for method in service.method:
                cluster = file.package.split(".")[1]
                yield cluster, f"/{file.package}.{service.name}/{method.name}", method


def _rest_paths(method: MethodDescriptorProto) -> Iterator[str]:
    rule = method.options.Extensions[annotations_pb2.http]
    for binding in (rule, *rule.additional_bindings):
        path = binding.get or binding.post
        if path:
            yield path.replace("{model=**}", "a/b").replace("{", "x").replace("}", "x")


def _route(routes: Any, path: str, content_type: str) -> Any:
    """The first route that matches; understands the forms of match the bootstrap uses."""
    for route in routes:
        match = route["match"]
        stem = match.get("path_separated_prefix")
        fits = (
            path == match.get("path")
            or ("prefix" in match and path.startswith(match["prefix"]))
            or (stem is not None and (path == stem or path.startswith(stem + "/")))
        )
        headers = {header["name"]: header for header in match.get("headers", ())}
        if "content-type" in headers:
            fits &= content_type.startswith(headers["content-type"]["string_match"]["prefix"])
        # A request of ordinary size.
        if fits and "content-length" not in headers:
            return route["route"]
    return None


def test_every_method_of_the_contracts_reaches_its_service_or_is_internal(routes: Any) -> None:
    checked = set()
    for cluster, path, _ in _methods():
        route = _route(routes, path, "application/grpc")
        assert (route is None) == (path in INTERNAL), path
        if route is not None:
            assert route["cluster"] == cluster, path
            checked.add(cluster)
    assert checked == CLUSTERS


def test_every_rest_path_of_the_contracts_reaches_its_service(routes: Any, manager: Any) -> None:
    transcoded = set(manager["http_filters"][2]["typed_config"]["services"])
    checked = set()
    for cluster, rpc_path, method in _methods():
        # Reached by the size of the body, whatever its path.
        if method.name in ("RefuseLargeBody", "RefuseLargeMessage"):
            continue
        for path in _rest_paths(method):
            assert _route(routes, path, "application/json")["cluster"] == cluster, path
            assert rpc_path[1:].partition("/")[0] in transcoded
            checked.add(cluster)
    assert checked == CLUSTERS


def test_a_grpc_path_is_nothing_to_other_clients(routes: Any) -> None:
    for _, path, _ in _methods():
        assert _route(routes, path, "application/json") is None, path


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/messages",
        "/v1/responses",
    ],
)
def test_a_stream_has_no_timeout_but_a_longest_duration(routes: Any, path: str) -> None:
    route = _route(routes, path, "application/json")
    assert route["timeout"] == "0s"
    assert route["max_stream_duration"] == {"max_stream_duration": "900.000s"}


def test_grpc_streams_have_no_timeout_but_a_longest_duration(routes: Any) -> None:
    path = "/infermesh.router.v1.InferenceService/InferStream"
    route = _route(routes, path, "application/grpc")
    assert route["timeout"] == "0s"
    assert route["max_stream_duration"]["max_stream_duration"] == "900.000s"
    assert route["max_stream_duration"]["grpc_timeout_header_max"] == "900.000s"


@pytest.mark.parametrize(
    ("path", "timeout"), [("/infer", "601.000s"), ("/v1/keys", "31.000s"), ("/health", "31.000s")]
)
def test_a_single_answer_has_the_timeout_of_its_kind(routes: Any, path: str, timeout: str) -> None:
    assert _route(routes, path, "application/json")["timeout"] == timeout


def test_the_filter_chain_is_short_and_in_order(manager: Any) -> None:
    assert [entry["name"].rpartition(".")[2] for entry in manager["http_filters"]] == [
        "grpc_web",
        "lua",
        "grpc_json_transcoder",
        "router",
    ]


def test_lua_runs_on_the_surfaces_of_sdks_alone(routes: Any, manager: Any) -> None:
    assert "default_source_code" not in manager["http_filters"][1]["typed_config"]
    with_lua = {
        route["match"].get("path") or route["match"].get("path_separated_prefix")
        for route in routes
        if "envoy.filters.http.lua" in route.get("typed_per_filter_config", {})
        and "prefix" not in route["match"]
    }
    assert with_lua == {
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/messages",
        "/v1/models",
        "/v1/responses",
    }


def test_what_may_be_done_twice_is_tried_elsewhere_and_the_rest_only_when_nobody_began(
    routes: Any, manager: Any
) -> None:
    assert "retry_policy" not in manager["route_config"]["virtual_hosts"][0]
    once = {"connect-failure", "refused-stream", "cancelled", "retriable-headers"}
    refused = {"name": "x-infermesh-stopping", "string_match": {"exact": "refused"}}
    stopping = {"name": "x-infermesh-stopping", "present_match": True}
    done_once = ("/v1/keys", "KeyService", "feedback", "SendFeedback")
    checked = set()
    for route in routes:
        if any(h["name"] == "content-length" for h in route["match"].get("headers", ())):
            # Bodies that are refused whole, and too large to be kept.
            assert "retry_policy" not in route.get("route", {})
            continue
        policy = route["route"]["retry_policy"]
        paths = [
            str(route["match"].get(k, "")) for k in ("path", "prefix", "path_separated_prefix")
        ]
        single = any(name in path for path in paths for name in done_once)
        retried = set(policy["retry_on"].split(","))
        assert retried == once | ({"reset-before-request"} if single else {"reset"}), route["match"]
        assert policy["retriable_headers"] == [refused if single else stopping]
        assert policy["num_retries"] == 2
        checked.add(single)
    assert checked == {True, False}


def test_without_retries_nothing_is_sent_twice_or_held_back(
    required: Mapping[str, object],
) -> None:
    text = render(parameters_from({**required, "retries": 0}))
    assert "retry_policy" not in text and "upstream_lua" not in text


def test_a_body_of_the_largest_size_can_be_sent_again(manager: Any) -> None:
    host = manager["route_config"]["virtual_hosts"][0]
    assert host["request_body_buffer_limit"] > 20 * 2**20


def test_a_replica_is_spared_while_another_one_is_well(bootstrap: Any) -> None:
    for cluster in bootstrap["static_resources"]["clusters"]:
        assert cluster["lb_policy"] == "LEAST_REQUEST"
        assert cluster["common_lb_config"]["healthy_panic_threshold"] == {"value": 1}
        (check,) = cluster["health_checks"]
        assert (check["grpc_health_check"], check["interval"]) == ({}, "1.000s")
        budget = cluster["circuit_breakers"]["thresholds"][0]["retry_budget"]
        assert budget == {"budget_percent": {"value": 100.0}, "min_retry_concurrency": 256}


def test_an_answer_of_a_service_never_ejects_its_host(bootstrap: Any) -> None:
    clusters = {entry["name"]: entry for entry in bootstrap["static_resources"]["clusters"]}
    assert set(clusters) == CLUSTERS
    for cluster in clusters.values():
        outlier = cluster["outlier_detection"]
        assert outlier["split_external_local_origin_errors"] is True
        assert outlier["enforcing_consecutive_5xx"] == 0
        assert outlier["enforcing_consecutive_gateway_failure"] == 0
        assert outlier["enforcing_success_rate"] == 0


def test_the_access_log_holds_neither_keys_nor_queries(manager: Any) -> None:
    fields = manager["access_log"][0]["typed_config"]["log_format"]["json_format"]
    text = str(fields).lower()
    assert "authorization" not in text and "api-key" not in text
    assert "%PATH(NQ:" in fields["path"]


def test_without_a_collector_there_is_no_tracing(manager: Any) -> None:
    assert "tracing" not in manager


def test_dns_clusters_resolve_names(required: Mapping[str, object]) -> None:
    values = {**required, "cluster_type": "STRICT_DNS", "cache_host": "cache.mesh.svc"}
    clusters = yaml.safe_load(render(parameters_from(values)))["static_resources"]["clusters"]
    cache = next(entry for entry in clusters if entry["name"] == "cache")
    endpoint = cache["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    assert cache["cluster_type"]["name"] == "envoy.clusters.dns"
    assert endpoint["address"]["socket_address"]["address"] == "cache.mesh.svc"
