# One inference through Envoy, as a client makes it. Without a key: whether the mesh is well.
import json
import os
import pathlib
import ssl
import time
import urllib.error
import urllib.request
from typing import Any

url = os.environ["MESH_URL"]
model = os.environ["MESH_MODEL"]
deadline = time.monotonic() + float(os.environ["MESH_TIMEOUT_S"])
key_file = pathlib.Path("/run/secrets/test/api-key")
# Whose certificate it is does not matter here: the way goes through the release's own Service.
tls = ssl.create_default_context()
tls.check_hostname = False
tls.verify_mode = ssl.CERT_NONE


def ask() -> tuple[dict[str, Any], dict[str, str]]:
    if not key_file.exists():
        request = urllib.request.Request(url + "/health")
    else:
        question = [{"role": "user", "content": "Say hello."}]
        body = {"model": model, "messages": question, "max_tokens": 8, "temperature": 0}
        headers = {
            "authorization": "Bearer " + key_file.read_text().strip(),
            "content-type": "application/json",
        }
        request = urllib.request.Request(
            url + "/v1/chat/completions", json.dumps(body).encode(), headers
        )
    left = max(1.0, deadline - time.monotonic())
    with urllib.request.urlopen(request, timeout=left, context=tls) as answer:
        return json.load(answer), dict(answer.headers)


while True:
    try:
        answer, headers = ask()
        break
    except (OSError, urllib.error.HTTPError) as error:
        detail = error.read().decode() if isinstance(error, urllib.error.HTTPError) else ""
        print(f"not yet: {error} {detail}", flush=True)
        if time.monotonic() > deadline:
            raise SystemExit("no answer in time")
        time.sleep(2)

print(json.dumps(answer, indent=2))
print({name: value for name, value in headers.items() if name.startswith("x-infermesh-")})
if key_file.exists():
    assert answer["choices"][0]["message"]["content"] is not None, "an answer without text"
    assert headers.get("x-infermesh-decision-id"), "an answer without a decision"
