"""The real Envoy and scripted services behind it, for tests; needs the extra `testing`."""

from infermesh_envoy.testing.process import EnvoyProcess
from infermesh_envoy.testing.upstream import Behaviour, Call, ScriptedUpstream

__all__ = ["Behaviour", "Call", "EnvoyProcess", "ScriptedUpstream"]
