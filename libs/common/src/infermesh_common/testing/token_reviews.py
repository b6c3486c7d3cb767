"""ServiceAccounts without a cluster: their tokens, and an API server that vouches for each."""

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NAMESPACE = "mesh"
AUDIENCE = "vault"


def service_account_token(name: str, *, audience: str = AUDIENCE) -> str:
    """A token as the API server makes them, but for its signature."""
    now = int(time.time())
    claims = {
        "aud": [audience],
        "sub": f"system:serviceaccount:{NAMESPACE}:{name}",
        "iat": now - 60,
        "nbf": now - 60,
        "exp": now + 3600,
        "kubernetes.io": {"namespace": NAMESPACE, "serviceaccount": {"name": name, "uid": name}},
    }
    parts = [json.dumps(part).encode() for part in ({"alg": "RS256", "typ": "JWT"}, claims)]
    return ".".join(base64.urlsafe_b64encode(p).rstrip(b"=").decode() for p in (*parts, b"sig"))


class TokenReviews:
    """The part of an API server that Vault asks whose token it was shown.

    Attributes:
        port: it listens on.
        asked: tokens reviewed so far.
        authenticated: what it says of them.
    """

    def __init__(self) -> None:
        self.asked = 0
        self.authenticated = True
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _reviewer(self))
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def review(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a TokenReview."""
        self.asked += 1
        payload = request["spec"]["token"].split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        user = {"username": claims["sub"], "uid": claims["sub"].rpartition(":")[2]}
        audiences = [a for a in request["spec"].get("audiences") or [] if a in claims["aud"]]
        status = {"authenticated": self.authenticated, "user": user, "audiences": audiences}
        return {**request, "status": status}

    def close(self) -> None:
        """Ends it."""
        self._server.shutdown()
        self._server.server_close()


def _reviewer(reviews: TokenReviews) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            data = json.dumps(reviews.review(body)).encode()
            self.send_response(201)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            return

    return Handler
