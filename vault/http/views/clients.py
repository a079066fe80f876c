"""The shapes of /v1/clients."""

from datetime import datetime

from vault.http.views.common import Body, Line, Token, View


class PutClient(Body):
    client_id: Line
    client_secret: Token | None = None


class ClientView(View):
    """A registration. Its secret is never shown, not even in part."""

    tenant: str
    provider: str
    client_id: str
    state: str
    rejected_at: datetime | None = None
    retry_not_before: datetime | None = None
    paused_at: datetime | None = None
