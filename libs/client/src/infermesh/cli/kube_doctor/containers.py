"""How the containers of a pod are."""

from dataclasses import dataclass
from datetime import datetime

from infermesh.cli.kube_doctor.fields import Fields, KubeObject


@dataclass(frozen=True, slots=True)
class Ended:
    """A container that ended.

    Attributes:
        reason: "Error", "OOMKilled", "Completed", ...
        exit_code: of its process.
        message: what the kubelet kept of its last words; may be empty.
        at: when; None when not known.
    """

    reason: str
    exit_code: int
    message: str
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Container:
    """One container of a pod.

    Attributes:
        name: of it.
        is_init: whether it runs before the others.
        image: as stated.
        image_id: what it is in fact; empty until it was pulled.
        ready: whether it passes its readiness probe.
        running: whether it runs.
        waiting: reason why it does not run yet; empty when it does not wait.
        waiting_message: the kubelet's words about that.
        ended: how it ended, when it is not running; None when it is, or never ran.
        before: how it ended the last time before it was started again.
        restarts: how often that happened.
    """

    name: str
    is_init: bool
    image: str
    image_id: str
    ready: bool
    running: bool
    waiting: str
    waiting_message: str
    ended: Ended | None
    before: Ended | None
    restarts: int

    @property
    def last_end(self) -> Ended | None:
        """How it ended the last time."""
        return self.ended or self.before


def containers_of(pod: KubeObject) -> tuple[Container, ...]:
    """The containers the kubelet has told about, in the order in which they start."""
    return tuple(
        _container(status, is_init)
        for field, is_init in (("initContainerStatuses", True), ("containerStatuses", False))
        for status in pod.items(f"status.{field}")
    )


def _container(status: Fields, is_init: bool) -> Container:
    return Container(
        name=status.text("name"),
        is_init=is_init,
        image=status.text("image"),
        image_id=status.text("imageID"),
        ready=status.flag("ready"),
        running=status.at("state.running").known,
        waiting=status.text("state.waiting.reason"),
        waiting_message=status.text("state.waiting.message"),
        ended=_ended(status.at("state.terminated")),
        before=_ended(status.at("lastState.terminated")),
        restarts=status.number("restartCount"),
    )


def _ended(terminated: Fields) -> Ended | None:
    if not terminated.known:
        return None
    return Ended(
        reason=terminated.text("reason"),
        exit_code=terminated.number("exitCode"),
        message=terminated.text("message"),
        at=terminated.moment("finishedAt"),
    )
