# Before Envoy is told to end: ADMIN-URL NOTICE-SECONDS LONGEST-SECONDS. It goes on serving while
# balancers notice that the pod is leaving, and asks its clients to connect anew; then the answers
# under way may finish.
import sys
import time
import urllib.request

admin = sys.argv[1]
notice_s, longest_s = map(float, sys.argv[2:])
begun = time.monotonic()


def ask(path: str, method: str) -> str:
    request = urllib.request.Request(admin + path, method=method)
    with urllib.request.urlopen(request, timeout=5) as answer:
        text: str = answer.read().decode()
    return text


def under_way() -> int:
    # "http.edge.downstream_rq_active: 3"
    return int(ask("/stats?filter=^http\\.edge\\.downstream_rq_active$", "GET").rpartition(":")[2])


ask("/drain_listeners?inboundonly&graceful&skip_exit", "POST")
while (passed_s := time.monotonic() - begun) < notice_s or (under_way() and passed_s < longest_s):
    time.sleep(0.2)
