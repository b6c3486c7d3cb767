"""A mesh that answers as it is told, for tests of applications and of this package.

It is a real gRPC server on a free loopback port with every service of the mesh; what each method
answers is scripted, and every call it gets is kept.
"""

from infermesh.testing.scripted_mesh import (
    Failure,
    Hang,
    Outcome,
    ReceivedCall,
    ScriptedMesh,
    Stream,
)

__all__ = ["Failure", "Hang", "Outcome", "ReceivedCall", "ScriptedMesh", "Stream"]
