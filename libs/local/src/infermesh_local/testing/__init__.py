"""A mesh of small stand-in processes, for tests of what starts and stops a mesh."""

from infermesh_local.testing.blueprint import StandIn, StandInBlueprint

__all__ = ["StandIn", "StandInBlueprint"]
