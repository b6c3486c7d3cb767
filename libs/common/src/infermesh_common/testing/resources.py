"""Resources for tests, as the documents that YAML files hold."""

Document = dict[str, object]


def resource(kind: str, name: str, **spec: object) -> Document:
    """A resource; the keys of `spec` are in camelCase as in YAML."""
    return {
        "apiVersion": "infermesh.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }


def model(name: str, *, provider: str = "main", price: str = "1", **spec: object) -> Document:
    """A Model resource whose input and output cost `price` US dollars per million tokens."""
    prices = {"source": "test", "input": price, "output": price, "cachedInput": "0.5"}
    defaults: dict[str, object] = {
        "provider": provider,
        "upstreamModel": f"upstream-{name}",
        "contextTokens": 4096,
        "capabilities": ["chat", "embeddings", "tools", "json_schema", "logprobs"],
        "pricing": {"overlay": prices},
    }
    return resource("Model", name, **{**defaults, **spec})
