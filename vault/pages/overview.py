"""The first page: what is connected, how it is, and what would help. Nothing is opened for it."""

from datetime import datetime, timedelta
from typing import Any

from litestar import Controller, Request, Response, get
from litestar.di import NamedDependency

from vault.callers import OPERATOR
from vault.connection import Connection, NextAction
from vault.pages.markup import Markup, joined, markup, page
from vault.pages.refusal import REFUSALS
from vault.pages.session import require_https, require_session
from vault.services import Vault

MOST = 200  # connections on the page

_HELP: dict[NextAction, str] = {
    "none": "Nothing to do",
    "connect": "Send somebody a connect link",
    "verify": "Nothing yet: its next refresh will tell",
    "wait": "Wait: it is tried again",
    "fix_client": "Register the client's right secret",
    "reconnect": "Somebody has to connect it again",
    "fix_credentials": "Enter credentials that its provider takes",
    "operator": "A stored value does not open: look after the keys",
}
_PAGE = (
    "<header><h1>Connections</h1>"
    '<form method="post" action="logout"><button>Sign out</button></form></header><main>{main}</main>'
)
_NONE = Markup("<p>Nothing is connected yet. The API at <code>/schema</code> makes connect links.</p>")
_TABLE = (
    '<div class="wide"><table><caption>{caption}</caption><thead><tr><th scope="col">Connection</th>'
    '<th scope="col">Status</th><th scope="col">What to do</th><th scope="col">Token ends</th>'
    '<th scope="col">Renewed</th></tr></thead><tbody>{rows}</tbody></table></div>'
)
_ROW = (
    '<tr><th scope="row">{path}<small>{account}</small></th>'
    '<td><span class="{look}">{status}</span><small>{reason}</small></td>'
    "<td>{help}</td><td>{ends}</td><td>{renewed}</td></tr>"
)
_ALL = Markup("All of them, in the order of their names.")
_FIRST = Markup(
    f"The first {MOST}, in the order of their names. <code>tokenvault connections list</code> has all of them."
)
_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


class OverviewController(Controller):
    include_in_schema = False

    @get("/", opt={"public": True}, exception_handlers=REFUSALS)
    async def show(self, request: Request[Any, Any, Any], vault: NamedDependency[Vault]) -> Response[str]:
        """Show what is connected to whoever is signed in."""
        require_https(vault.settings)
        await require_session(request, vault)
        found = await vault.connections.page(
            OPERATOR,
            tenant=None,
            provider=None,
            status=None,
            expiring_within=None,
            after=None,
            limit=MOST + 1,
        )
        return overview(found)


def overview(found: list[Connection]) -> Response[str]:
    """Return the page for *found*; one more than MOST says that there are more."""
    caption = _FIRST if len(found) > MOST else _ALL
    table = markup(_TABLE, caption=caption, rows=joined(_row(each) for each in found[:MOST]))
    return page("Connections", markup(_PAGE, main=table if found else _NONE))


def _row(connection: Connection) -> Markup:
    state, now = connection.state, connection.read_at
    return markup(
        _ROW,
        path=connection.path,
        account=connection.account_label or connection.account or "",
        look=state.status if connection.enabled and connection.paused is None else "off",
        status=connection.standing,
        reason=state.reason or "",
        help=_HELP[state.next_action],
        ends=_time(state.access_expires_at, now),
        renewed=_time(state.refreshed_at, now),
    )


def _time(moment: datetime | None, now: datetime) -> Markup:
    if moment is None:
        return Markup("&ndash;")
    return markup(
        '<time datetime="{exact}">{distance}<small>{plain} UTC</small></time>',
        exact=f"{moment:%Y-%m-%dT%H:%M:%SZ}",
        distance=distance(moment - now),
        plain=f"{moment:%Y-%m-%d %H:%M}",
    )


def distance(span: timedelta) -> str:
    """Return how far off something is, in the largest unit that fits: "in 3 days", "1 minute ago"."""
    seconds = int(abs(span.total_seconds()))
    length, unit = next((each for each in _UNITS if seconds >= each[0]), (1, "second"))
    count = seconds // length
    words = f"{count} {unit}{'' if count == 1 else 's'}"
    return f"in {words}" if span > timedelta(0) else f"{words} ago"
