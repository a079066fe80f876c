"""The page that is shown when the one that was asked for is not: why, in words, and what would help."""

from typing import Any

from litestar import Request, Response
from litestar.types import ExceptionHandlersMap

from vault.errors import Gone
from vault.pages.markup import Markup, markup, page
from vault.pages.session import Refused

# What helps, with the way from there to the first page. Where another site's link led here, the
# browser has kept our cookie back; our own link brings it along.
_GET_A_LINK = (
    "<p>Whoever runs this vault makes a link to sign in with, good once and within 10 minutes:</p>"
    "<p><code>tokenvault login-link</code></p>"
    '<p><a href="{home}">Open the vault</a> if you are signed in on this browser.</p>'
)
_ASK_FOR_HTTPS = Markup("<p>Tell whoever runs this vault that PUBLIC_URL must be https.</p>")
# By code: status, title, what it means, what helps.
_WORDS = {
    "not_signed_in": (
        401,
        "Not signed in",
        "This page is for those who run the vault.",
        markup(_GET_A_LINK, home="./"),
    ),
    "gone": (
        410,
        "This link does not work any more",
        "It was used, or is too old.",
        markup(_GET_A_LINK, home="../"),
    ),
    "https_required": (
        403,
        "This page needs https",
        "Signing in is possible over https only.",
        _ASK_FOR_HTTPS,
    ),
    "cross_site": (
        403,
        "Refused",
        "This was sent from a page that is not the vault's. Nothing was done.",
        Markup(""),
    ),
}


def refusal(_request: Request[Any, Any, Any], error: Refused | Gone) -> Response[str]:
    """Return the page for *error*."""
    status, title, text, help_ = _WORDS[error.code]
    body = markup(
        "<main><h1>{title}</h1><p>{text}</p>{help_}<p><small>{code}</small></p></main>",
        title=title,
        text=text,
        help_=help_,
        code=error.code,
    )
    # RFC 9110 has a 401 name what would help; browsers pass over a scheme that they do not know.
    headers = {"WWW-Authenticate": 'Cookie realm="tokenvault"'} if status == 401 else {}
    return page(title, body, status_code=status, headers=headers)


REFUSALS: ExceptionHandlersMap = {Refused: refusal, Gone: refusal}
