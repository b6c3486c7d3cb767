"""Lists tenants."""

from infermesh_common.identity.model import Identity, Role
from infermesh_governance.application.board import SnapshotBoard
from infermesh_governance.domain.pages import Page, PageRequest, page_of
from infermesh_governance.domain.snapshot import Tenant

_SEE_ALL = frozenset({Role.OPERATOR, Role.SERVICE})


class TenantList:
    """The use case of TenantService; needs no store.

    Args:
        board: which tenants there are.
    """

    def __init__(self, board: SnapshotBoard) -> None:
        self._board = board

    def list(self, caller: Identity, request: PageRequest) -> Page[Tenant]:
        """Tenants by name: every one for operators and services, its own for anybody else.

        Raises:
            InvalidArgument: the page token or size is wrong.
        """
        sees_all = caller.role in _SEE_ALL
        visible = [
            tenant
            for tenant in self._board.tenants.values()
            if sees_all or tenant.name == caller.tenant
        ]
        return page_of(visible, request, scope="tenants", position=lambda tenant: (0, tenant.name))
