"""The one page of a connect flow without an application behind it: how it went, in words."""

from html import escape

from litestar import MediaType, Response

from integrations.advice import ADVICE
from vault.connection import Connection

_WORDS = {
    "connected": ("Connected", "You can close this page."),
    "gone": (
        "This link does not work any more",
        "It was used, is too old, or was opened in another browser. Ask for a new one.",
    ),
    "https_required": (
        "This page needs https",
        "Accounts are connected over https only. Tell whoever runs this vault that PUBLIC_URL must be https.",
    ),
    "access_denied": ("Not connected", "Access was not granted. The link works again whenever you like."),
    "account_mismatch": (
        "Not connected: this is another account",
        "Sign in at the provider with the account that was connected before.",
    ),
    "account_unknown": ("Not connected", "The provider did not say whose account this is."),
    "iss_mismatch": ("Not connected", "The answer did not come from the provider that was asked."),
    "iss_missing": ("Not connected", "The answer did not say which provider it came from."),
}
_OTHERWISE = ("Not connected", "The provider did not complete the connection. The link can be tried again.")
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"></head>
<body><main><h1>{title}</h1><p>{text}</p>{about}<p><small>{code}</small></p></main></body></html>
"""
_CSP = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


def result_page(connection: Connection | None, code: str, *, status_code: int) -> Response[str]:
    """Return the page for *code*. It loads and runs nothing."""
    title, text = _WORDS.get(code, (_OTHERWISE[0], ADVICE.get(code, _OTHERWISE[1])))
    about = "" if connection is None else f"<p>{escape(connection.path)}</p>"
    page = _PAGE.format(title=escape(title), text=escape(text), about=about, code=escape(code))
    headers = {"Content-Security-Policy": _CSP}
    return Response(page, status_code=status_code, media_type=MediaType.HTML, headers=headers)
