"""The whole mesh, with its real services."""

from collections.abc import Callable

import openai
import pytest
from infermesh_local import LocalMesh, Severity, UpOptions
from infermesh_local.process_table import processes_of

MakeMesh = Callable[..., LocalMesh]
NAMES = ["redis", "governance", "model", "cache", "analytics", "router", "envoy"]


@pytest.mark.timeout(300)
def test_the_mesh_answers_once_it_is_up_and_is_gone_once_it_is_down(make_mesh: MakeMesh) -> None:
    mesh = make_mesh()
    info = mesh.up(UpOptions(), lambda line: None)
    status = mesh.status()
    assert [process.name for process in status.processes] == NAMES
    assert status.ready, status
    key = info.tenant_key_files["demo"].read_text().strip()
    with openai.OpenAI(base_url=f"{info.url}/v1", api_key=key, max_retries=0) as client:
        answer = client.chat.completions.create(
            model="smollm2-135m",
            messages=[{"role": "user", "content": "Say yes."}],
            max_tokens=4,
        )
        assert answer.choices[0].message.content
    with openai.OpenAI(base_url=f"{info.url}/v1", api_key="wrong", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError):
            stranger.models.list()
    assert [f for f in mesh.doctor() if f.severity is Severity.ERROR] == []
    mesh.down(lambda line: None)
    assert processes_of(mesh.state_dir) == []
