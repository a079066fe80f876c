"""Pages as text: their frame, and a way to fill in values that escapes them all.

Nothing on a page runs, and nothing is loaded: its one style is inside it, and the policy names that
style by its hash.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from html import escape

from litestar import MediaType, Response
from litestar.datastructures import Cookie

_STYLE = """
:root { color-scheme: light dark; --quiet: light-dark(#57606a, #9da7b3); --line: light-dark(#d8dee4, #353c45);
  --good: light-dark(#1a7f37, #4ac26b); --warn: light-dark(#8a5a00, #d9a53a);
  --bad: light-dark(#b3261e, #ff8078); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: auto; padding: 2rem 1.25rem; }
header { display: flex; flex-wrap: wrap; gap: 1rem; align-items: center; justify-content: space-between; }
h1 { font-size: 1.5rem; margin: 0; }
p { max-width: 40rem; }
code { font-size: .95em; overflow-wrap: anywhere; }
small, caption { color: var(--quiet); font-size: .85rem; }
button { font: inherit; padding: .4rem 1.1rem; border: 1px solid var(--quiet); border-radius: .4rem;
  cursor: pointer; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin-top: 1rem; }
caption { text-align: left; padding-bottom: .5rem; }
th, td { text-align: left; vertical-align: top; font-weight: normal; padding: .6rem 1rem .6rem 0;
  border-top: 1px solid var(--line); }
thead th { font-size: .85rem; color: var(--quiet); }
tbody th { font-weight: 600; overflow-wrap: anywhere; min-width: 14rem; }
td small, th small { display: block; font-weight: normal; }
time { white-space: nowrap; }
.verified { color: var(--good); } .degraded, .off { color: var(--warn); } .failed { color: var(--bad); }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self';"
        " frame-ancestors 'none'; base-uri 'none'"
    ),
    # Not `no-referrer`, which holds elsewhere: under that, browsers send forms with `Origin: null`,
    # which a form on a foreign page can have too. The path, which can be a link, is kept back as well.
    "Referrer-Policy": "strict-origin",
}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title} · Token Vault</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head>
<body>{body}</body></html>
"""


class Markup(str):
    """Text that is markup already. Everything else is escaped on its way into a page."""

    __slots__ = ()


def markup(template: str, **values: object) -> Markup:
    """Return *template*, a literal of ours, with *values* in its braces."""
    return Markup(template.format_map({name: _escaped(value) for name, value in values.items()}))


def joined(parts: Iterable[Markup]) -> Markup:
    """Return *parts* one after the other."""
    return Markup("".join(parts))


def page(
    title: str,
    body: Markup,
    *,
    status_code: int = 200,
    headers: Mapping[str, str] | None = None,
    cookies: Iterable[Cookie] = (),
) -> Response[str]:
    """Return a page called *title*."""
    return Response(
        markup(_PAGE, title=title, style=Markup(_STYLE), body=body),
        status_code=status_code,
        media_type=MediaType.HTML,
        headers={**_HEADERS, **(headers or {})},
        cookies=list(cookies),
    )


def _escaped(value: object) -> str:
    return value if isinstance(value, Markup) else escape(str(value))
