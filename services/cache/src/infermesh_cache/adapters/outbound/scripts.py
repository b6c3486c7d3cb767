"""The Lua scripts, each atomic in Redis."""

from importlib import resources

from redis.asyncio import Redis
from redis.commands.core import AsyncScript

_PACKAGE = "infermesh_cache.adapters.outbound"


def read_script(name: str) -> str:
    """The text of a script."""
    return resources.files(_PACKAGE).joinpath("lua", f"{name}.lua").read_text("utf-8")


class Scripts:
    """Every script, known to one client.

    Args:
        redis: the client.
    """

    def __init__(self, redis: Redis) -> None:
        ledger = read_script("ledger")

        def register(name: str, before: str = ledger) -> AsyncScript:
            return redis.register_script(f"{before}\n{read_script(name)}")

        # On the path of every request: does without what it does not use.
        self.lookup = register("lookup", before="")
        self.touch = register("touch")
        self.store = register("store")
        self.drop = register("drop")
        self.renew = register("renew")
        self.release = register("release")
        self.forget = register("forget")
        self.remove_batch = register("remove_batch")
        self.count = register("count")
        self.maintain = register("maintain")
