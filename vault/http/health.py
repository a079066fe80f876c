"""/healthz, /readyz and /metrics: alive, able to serve, and how it goes."""

from litestar import Response, get
from litestar.di import NamedDependency

from integrations.contract import Secret
from vault.errors import CannotOpen, StorageUnavailable, Unavailable
from vault.http.views.health import Health
from vault.keyring import Context
from vault.services import Vault
from vault.store import migrate

_TEXT = "text/plain; version=0.0.4"  # Prometheus' format
_CONTEXT = Context("platform", "none", "readiness", "none", "none", 0)


@get("/healthz", opt={"public": True}, tags=["health"], summary="The process is alive")
async def healthz() -> Health:
    return Health(status="ok")


@get("/readyz", opt={"public": True}, tags=["health"], summary="Database, keys and migrations are right")
async def readyz(vault: NamedDependency[Vault]) -> Health:
    """Say whether this replica can serve. A sweep that lags is no reason not to."""
    try:
        async with vault.database.read() as tx:
            ready = await migrate.standing(tx) != "earlier"
        vault.keyring.open(vault.keyring.seal(Secret("ready"), _CONTEXT), _CONTEXT)
        ready = ready and vault.keyring.complete
    except (StorageUnavailable, CannotOpen):
        ready = False
    if not ready:
        raise Unavailable(
            "The database, its migrations or the keys are not right.", code="not_ready", retry_after=5
        )
    return Health(status="ready")


@get("/metrics", opt={"public": True}, include_in_schema=False)
async def metrics(vault: NamedDependency[Vault]) -> Response[bytes]:
    """Give the figures of this replica to Prometheus. They name no tenant, connection or caller."""
    return Response(await vault.scrape.text(), media_type=_TEXT)
