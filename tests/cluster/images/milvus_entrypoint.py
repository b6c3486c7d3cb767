"""Takes the command line of Milvus, runs the server of Milvus Lite and answers health checks."""

import argparse
import http.server
import signal
import socket
import subprocess
import sys
import threading


class Health(http.server.BaseHTTPRequestHandler):
    """200 for /healthz while the server accepts connections."""

    port = 19530

    def do_GET(self) -> None:
        """Answers."""
        try:
            socket.create_connection(("127.0.0.1", self.port), 2).close()
            healthy = self.path == "/healthz"
        except OSError:
            healthy = False
        self.send_response(200 if healthy else 503)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: probes come every few seconds."""


def main() -> int:
    """Runs until the server ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("command", nargs=3)
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=19530)
    parser.add_argument("--health-port", type=int, default=9091)
    parser.add_argument("--data", default="/var/lib/milvus/lite")
    given = parser.parse_args()
    if given.command != ["milvus", "run", "standalone"]:
        parser.error("only `milvus run standalone` is known")
    command = [sys.executable, "-m", "milvus_lite", "server", "--data-dir", given.data]
    server = subprocess.Popen([*command, "--host", given.host, "--port", str(given.port)])
    signal.signal(signal.SIGTERM, lambda number, frame: server.terminate())
    Health.port = given.port
    health = http.server.ThreadingHTTPServer((given.host, given.health_port), Health)
    threading.Thread(target=health.serve_forever, daemon=True).start()
    return server.wait()


if __name__ == "__main__":
    sys.exit(main())
