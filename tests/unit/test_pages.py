"""The result page: whatever it has to show, it is text, and nothing on it loads or runs."""

from html.parser import HTMLParser
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.connection import Connection
from vault.pages.connect import cookie_name
from vault.pages.result import result_page

HOSTILE = (
    "<script>alert(1)</script>",
    "'\"><img src=x onerror=alert(1)>",
    "</small></body><iframe src=//evil.test>",
    "{title} {0} %s {code!r}",
    "javascript:alert(1)",
    "&lt;b&gt;",
    "\u202egnp.exe",
)
CODES = (
    "connected",
    "gone",
    "https_required",
    "access_denied",
    "account_mismatch",
    "account_unknown",
    "iss_mismatch",
    "iss_missing",
    "invalid_grant",
    "timeout",
    "http_503",
    "no_client",
    "connection_deleted",
    "undecryptable",
)


class Seen(HTMLParser):
    """The elements, attributes and text that a browser would make of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


class At:
    """A connection, as far as the page looks at it; its own rules would not let such a path be."""

    def __init__(self, path: str) -> None:
        self.path = path


def page(path: str | None, code: str, status: int = 400) -> Any:
    connection = None if path is None else cast(Connection, At(path))
    return result_page(connection, code, status_code=status)


def text_of(response: Any) -> str:
    return str(response.content)


@pytest.mark.parametrize("code", CODES)
def test_every_code_is_told_in_words_and_as_it_is(code: str) -> None:
    """A person reads a sentence, and whoever they ask for help gets the code."""
    seen = Seen(text_of(page("acme/google/default", code)))

    assert code in seen.words
    assert "acme/google/default" in seen.words
    assert [word for word in seen.words if word.endswith(".") and len(word.split()) > 4]


def test_only_success_is_called_connected() -> None:
    """No failure's headline can be taken for a success."""
    headlines = {code: text_of(page(None, code)).partition("<h1>")[2].partition("</h1>")[0] for code in CODES}

    assert headlines.pop("connected") == "Connected"
    assert not [title for title in headlines.values() if title.startswith("Connected")]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_shown_is_escaped(text: str) -> None:
    """A path or a code full of markup is shown as the text that it is."""
    plain, seen = Seen(text_of(page("acme/google/default", "x"))), Seen(text_of(page(text, text)))

    assert seen.tags == plain.tags
    assert seen.attributes == plain.attributes
    assert seen.words.count(text) == 2


@given(st.text(), st.text())
def test_no_text_becomes_markup(path: str, code: str) -> None:
    """Whatever text: the same elements and attributes as ever."""
    plain, seen = Seen(text_of(page("p", "c"))), Seen(text_of(page(path, code)))

    assert seen.tags == plain.tags
    assert seen.attributes == plain.attributes


def test_nothing_loads_or_runs() -> None:
    """No script, style, link, form or frame on it, and a policy under which none would do anything."""
    response = page("acme/google/default", "connected", 200)
    seen = Seen(text_of(response))

    assert set(seen.tags) == {"html", "head", "meta", "title", "body", "main", "h1", "p", "small"}
    assert not [name for name in seen.attributes if name.startswith("on") or name in {"src", "href", "style"}]
    assert response.headers["Content-Security-Policy"] == (
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
    assert response.media_type == "text/html"


@pytest.mark.parametrize("status", [200, 400, 403, 410])
def test_the_status_is_the_callers_choice(status: int) -> None:
    """The page itself judges nothing."""
    assert page(None, "connected", status).status_code == status


def test_a_page_without_a_connection_names_none() -> None:
    """Where nobody knows what it was about, it says nothing about any tenant."""
    assert "acme" not in text_of(page(None, "gone"))
    assert text_of(page(None, "gone")).count("<p>") == text_of(page("acme/google/c", "gone")).count("<p>") - 1


def test_the_cookie_has_the_hosts_prefix_exactly_under_https() -> None:
    """`__Host-` without Secure is refused by browsers, and Secure without https is never sent."""
    assert cookie_name(secure=True) == "__Host-tv_browser"
    assert cookie_name(secure=False) == "tv_browser"
