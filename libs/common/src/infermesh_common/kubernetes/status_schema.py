"""The schema of the status of every custom resource: the standard conditions of Kubernetes."""

from typing import Any

Schema = dict[str, Any]

_CONDITION: Schema = {
    "type": "object",
    "required": ["type", "status", "lastTransitionTime", "reason", "message"],
    "properties": {
        "type": {
            "description": "Accepted: in force as it stands. Ready: it works.",
            "type": "string",
            "maxLength": 316,
            "pattern": r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
            r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
        },
        "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
        "observedGeneration": {
            "description": "The generation of the resource that this is about.",
            "type": "integer",
            "format": "int64",
            "minimum": 0,
        },
        "lastTransitionTime": {
            "description": "When the status of the condition changed last.",
            "type": "string",
            "format": "date-time",
        },
        "reason": {
            "description": "One word, for programs.",
            "type": "string",
            "minLength": 1,
            "maxLength": 1024,
            "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
        },
        "message": {
            "description": "What is the matter and what to do.",
            "type": "string",
            "maxLength": 32768,
        },
    },
}
STATUS: Schema = {
    "description": "Written by InferMesh.",
    "type": "object",
    "properties": {
        "observedGeneration": {
            "description": "The generation of the resource that InferMesh has seen last.",
            "type": "integer",
            "format": "int64",
            "minimum": 0,
        },
        "conditions": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
            "items": _CONDITION,
        },
    },
}
