"""What somebody who changes credentials leaves out: it stays as it is stored, or nothing is changed."""

from integrations.contract import Kind
from vault.connection import Connection
from vault.errors import CannotOpen, Conflict, Invalid
from vault.grants import renews
from vault.means import Means
from vault.sealing import Place, opened_fields
from vault.store import sealed


async def completed(
    means: Means, kind: Kind, known: Connection, sent: dict[str, str] | None
) -> dict[str, str] | None:
    """Return the fields of *kind* that *known* holds, with those *sent* in their place, without the empty ones.

    Just what was sent where that is nothing, or of another kind. Nor is anything added to tokens from elsewhere:
    a refresh token goes with the access tokens that came of it. Raises Invalid where one would be lost
    for that, Conflict where what is stored does not open.
    """
    if sent is None or kind.id != known.kind:
        return sent
    if kind.how == "consent":
        if renews(known) and not sent.get("refresh_token"):
            detail = "This would lose its refresh token: send that too, or PUT the access token alone."
            raise Invalid(detail, code="credentials_missing", field="refresh_token")
        return sent
    fields = {**await _held(means, known), **sent}
    return {name: value for name, value in fields.items() if value}


async def _held(means: Means, known: Connection) -> dict[str, str]:
    async with means.database.read() as tx:
        values = await sealed.load(tx, "connection", known.id)
    if "credentials" not in values:
        return {}
    place = Place(known.tenant, known.provider, "connection", known.id)
    try:
        fields = opened_fields(means.keyring, place, values["credentials"])
    except CannotOpen:
        raise Conflict("A stored value does not open.", code="operator_required") from None
    return {name: value.reveal() for name, value in fields.items()}
