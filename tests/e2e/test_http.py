"""Raw HTTP against the whole mesh: REST, and bodies no SDK would send."""

import json
import subprocess
import uuid

import pytest

CHAT = "/v1/chat/completions"


def test_infer_answers_with_its_decision(mesh, unique):
    status, headers, body = mesh.http("POST", "/infer", {"prompt": unique, "model": "scripted"})
    assert status == 200
    assert body["message"]["content"] == "Paris."
    decision = body["decision"]
    assert decision["model"] == "scripted"
    assert decision["cost"] == {"amount": "0.000013", "currency_code": "USD"}
    assert headers["x-infermesh-decision-id"] == decision["decision_id"]
    assert mesh.http("POST", "/v2/infer", {"prompt": unique, "model": "scripted"})[2]["decision"][
        "cache_status"
    ] == ("CACHE_STATUS_HIT")


def test_health_needs_no_key(mesh):
    status, _, body = mesh.http("GET", "/health", key=None)
    assert (status, body["status"]) == (200, "SERVING")


def test_metrics_are_prometheus_text_for_operators(mesh):
    status, headers, body = mesh.http("GET", "/metrics", key=mesh.operator_key)
    assert status == 200 and headers["content-type"].startswith("text/plain")
    assert "infermesh_rpc_requests_total" in body
    assert mesh.http("GET", "/metrics")[0] == 403


def test_a_clients_request_id_is_kept_and_returned(mesh, unique):
    request_id = str(uuid.uuid4())
    body = {"model": "scripted", "messages": [{"role": "user", "content": unique}]}
    _, headers, _ = mesh.http("POST", CHAT, body, headers={"x-request-id": request_id})
    assert headers["x-request-id"] == request_id


BODIES = {
    "malformed": (b'{"model": ', 400, "invalid_json"),
    "nan": (b'{"model":"scripted","messages":[{"role":"user"}],"top_p":NaN}', 400, "invalid_json"),
    "deep": (
        b'{"model":"scripted","messages":' + b"[" * 9000 + b"]" * 9000 + b"}",
        400,
        "invalid_json",
    ),
    "utf8": (b'{"model":"scripted","messages":[{"role":"\xff"}]}', 400, "invalid_json"),
    "empty": (b"", 400, "invalid_json"),
    "unknown model": (b'{"model":"x","messages":[{"role":"user"}]}', 404, "model_not_found"),
}


@pytest.mark.parametrize("case", BODIES)
def test_a_bad_body_is_an_error_in_openais_shape(mesh, case):
    data, expected_status, code = BODIES[case]
    status, headers, body = mesh.http("POST", CHAT, data)
    assert (status, body["error"]["code"]) == (expected_status, code)
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [("GET", "/nowhere", 404), ("DELETE", CHAT, 404), ("GET", CHAT, 404)],
)
def test_an_unknown_path_is_an_error_in_openais_shape(mesh, method, path, expected):
    status, _, body = mesh.http(method, path)
    assert status in (expected, 405)
    assert set(body["error"]) == {"message", "type", "param", "code"}


def test_rest_errors_are_a_google_rpc_status(mesh):
    status, _, body = mesh.http("POST", "/infer", {"prompt": "x", "model": "gpt-99"})
    assert status == 404
    assert body["details"][0]["reason"] == "MODEL_NOT_FOUND"
    assert body["details"][0]["domain"] == "infermesh.dev"


def test_internal_calls_are_not_reachable_from_outside(mesh):
    for path in (
        "/infermesh.governance.v1.IdentityService/WatchIdentities",
        "/infermesh.cache.v1.CacheService/Lookup",
        "/infermesh.cache.v1.CacheService/Store",
    ):
        status, headers, _ = mesh.http(
            "POST", path, b"\0\0\0\0\0", headers={"content-type": "application/grpc"}
        )
        assert headers.get("grpc-status", str(status)) != "0"
        assert status != 200 or headers["grpc-status"] in ("5", "7", "12")


def test_a_body_of_50_mb_is_refused_before_it_has_arrived(mesh, tmp_path):
    body = tmp_path / "body"
    body.write_bytes(b'{"model":"' + b"x" * 50_000_000)
    done = subprocess.run(
        ["curl", "-s", mesh.url + CHAT, "-H", "content-type: application/json"]
        + ["-H", f"authorization: Bearer {mesh.key()}", "--data-binary", f"@{body}"],
        capture_output=True,
        timeout=60,
    )
    assert json.loads(done.stdout)["error"]["code"] == "request_too_large"


def test_curl_streams(mesh, unique):
    body = {"model": "scripted", "stream": True, "messages": [{"role": "user", "content": unique}]}
    done = subprocess.run(
        ["curl", "-sN", mesh.url + CHAT, "-H", "content-type: application/json"]
        + ["-H", f"authorization: Bearer {mesh.key()}", "-d", json.dumps(body)],
        capture_output=True,
        timeout=30,
    )
    assert done.stdout.endswith(b"data: [DONE]\n\n")


def test_passages_of_ones_own_documents_are_ranked(mesh):
    chunks = ["Rinse the tank every evening.", "Descale the boiler once a month."]
    documents = [{"id": "a", "title": "Coffee machine", "chunks": chunks}]
    body = {"documents": documents, "queries": ["When is the boiler descaled?"], "top_k": 1}
    for _ in range(100):
        status, _, said = mesh.http("POST", "/v1/retrieval:rank", body)
        # The model is loaded at the first call, which may take longer than a call may.
        if status != 504:
            break
    assert status == 200, said
    assert [passage["index"] for passage in said["results"][0]["passages"]] == [1]
