"""Configuration of supervisord, generated from the processes."""

import re
import shlex
import sys
from collections.abc import Mapping, Sequence

from infermesh_local.errors import StateUnusable
from infermesh_local.processes import ProcessSpec, RunContext

# In this format a quote, a backslash or a percent sign cannot be escaped in every place, and " ;"
# and " #" begin a comment even inside quotes.
_CANNOT_STAND = re.compile(r"[\x00-\x1f\x7f\"'\\%]|\s[;#]")
# A process that ends sooner after its start is started again after 1, 2, 3 ... seconds;
# one that ends later at once.
_START_SECS = 3
_START_RETRIES = 10


def render(context: RunContext, stages: Sequence[Sequence[ProcessSpec]]) -> str:
    """The text of `supervisord.conf`.

    No process starts by itself: the one who starts the mesh waits for each stage. Priorities
    make supervisord stop the last stage first, in whatever way it is told to stop.

    Raises:
        StateUnusable: a path holds characters that the format has no way to express.
    """
    layout, settings = context.layout, context.settings
    sections = [
        _section(
            "unix_http_server", {"file": _plain(context, str(layout.socket)), "chmod": "0700"}
        ),
        _section(
            "supervisord",
            {
                "logfile": _plain(context, str(layout.supervisor_log)),
                "logfile_maxbytes": f"{settings.log_max_mib}MB",
                "logfile_backups": str(settings.log_backups),
                "loglevel": "info",
                "pidfile": _plain(context, str(layout.pid_file)),
                "childlogdir": _plain(context, str(layout.logs)),
                "directory": _plain(context, str(layout.root)),
                "umask": "077",
                "nocleanup": "true",
            },
        ),
        _section(
            "rpcinterface:supervisor",
            {"supervisor.rpcinterface_factory": ("supervisor.rpcinterface:make_main_rpcinterface")},
        ),
    ]
    position = 0
    for stage in stages:
        for spec in stage:
            position += 1
            sections.append(_program(context, spec, position))
    return "\n".join(sections)


def argv_of_supervisord(context: RunContext) -> list[str]:
    """The command that starts the supervisor in the background."""
    return [sys.executable, "-m", "supervisor.supervisord", "-c", str(_config_path(context))]


def _config_path(context: RunContext) -> str:
    return str(context.layout.supervisor_config)


def _program(context: RunContext, spec: ProcessSpec, position: int) -> str:
    values = {
        "command": " ".join(shlex.quote(_plain(context, part)) for part in spec.argv),
        "directory": _plain(context, str(context.layout.root)),
        "priority": str(position),
        "autostart": "false",
        "autorestart": "true",
        "startsecs": str(_START_SECS),
        "startretries": str(_START_RETRIES),
        "stopsignal": "TERM",
        "stopwaitsecs": str(spec.stop_wait_s),
        "stopasgroup": "true",
        "killasgroup": "true",
        "redirect_stderr": "true",
        "stdout_logfile": _plain(context, str(context.layout.log_of(spec.name))),
        "stdout_logfile_maxbytes": f"{context.settings.log_max_mib}MB",
        "stdout_logfile_backups": str(context.settings.log_backups),
    }
    if spec.env:
        values["environment"] = ",".join(
            f'{name}="{_plain(context, value)}"' for name, value in spec.env.items()
        )
    return _section(f"program:{spec.name}", values)


def _section(name: str, values: Mapping[str, str]) -> str:
    return f"[{name}]\n" + "".join(f"{key}={value}\n" for key, value in values.items())


def _plain(context: RunContext, text: str) -> str:
    """`text`, which needs no escaping."""
    if _CANNOT_STAND.search(text):
        raise StateUnusable(
            context.layout.root,
            f"{text!r} holds a quote, a backslash, a percent sign, a control character, or ; or #"
            " after a space",
        )
    return text
