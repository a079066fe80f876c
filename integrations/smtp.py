"""Any mail server: a mailbox's password, or the Google account that stands behind it.

Sources: RFC 4954 and 5321 (replies), RFC 3463 (enhanced codes), RFC 8314 (ports), and
`https://developers.google.com/gmail/imap/xoauth2-protocol`.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from integrations.calls import plain
from integrations.contract import (
    Account,
    Answer,
    Field,
    Finding,
    Handout,
    Kind,
    MailLogin,
    Root,
    Secret,
    Steps,
    Transient,
    Unreadable,
)
from integrations.vendor import Vendor

WEEK = 7 * 86_400  # seconds: a failed login counts against the account at many servers
_HOST = Field(
    name="host",
    label="Server",
    secret=False,
    pattern=r"[A-Za-z0-9]([A-Za-z0-9.\-]{0,252}[A-Za-z0-9])?",
    help="The outgoing (SMTP) server of the mail provider, such as smtp.gmail.com.",
)
_PORT = Field(
    name="port",
    label="Port",
    secret=False,
    required=False,
    pattern=r"[1-9][0-9]{0,4}",
    help="587, or 465 where TLS is implicit. By default as the security needs it.",
)
_TLS = Field(
    name="tls",
    label="Security",
    secret=False,
    required=False,
    pattern=r"starttls|implicit",
    help="starttls (port 587) or implicit (port 465). There is no way without.",
)
_USERNAME = Field(
    name="username",
    label="User name",
    secret=False,
    pattern=r"[^\x00-\x1f\x7f]{1,320}",
    help="Most often the whole mail address.",
)
PASSWORD = Kind(
    id="password",
    label="User name and password",
    how="enter",
    renewal="none",
    check_every=WEEK,
    fields=(
        _HOST,
        _PORT,
        _TLS,
        _USERNAME,
        Field(
            name="password",
            label="Password",
            pattern=r"[^\x00\r\n]+",
            help="Where the account has two-step verification, an app password of the mail provider.",
        ),
    ),
)
XOAUTH2 = Kind(
    id="xoauth2",
    label="A connected Google account",
    how="enter",
    renewal="none",
    fed_by="google",
    check_every=WEEK,
    fields=(
        Field(
            name="connection",
            label="Google connection",
            secret=False,
            required=False,
            pattern=r"[A-Za-z0-9][A-Za-z0-9._~@\-]{0,127}",
            help="The name of this tenant's Google connection, by default `default`. It needs the scope"
            " https://mail.google.com/.",
        ),
        Field(
            name="username",
            label="Mail address",
            secret=False,
            pattern=r"[^\s\x00-\x1f\x7f@]+@[^\s\x00-\x1f\x7f@]+",
            help="Of the mailbox: the Google account's own, or an alias of it.",
        ),
        _PORT,
        _TLS,
    ),
)

_CODE = re.compile(r"\s*([245]\.[0-9]{1,3}\.[0-9]{1,3})\b")
# What a reply means, by its enhanced code (RFC 3463) before its plain one.
_REFUSED: Mapping[str, str] = {
    "5.7.139": "basic_auth_disabled",  # Microsoft: an administrator has to allow it
    "5.7.9": "app_password_required",  # Google, and RFC 4954: the mechanism is too weak
    "4.7.12": "password_expired",  # RFC 4954: a password transition is needed
    "534": "app_password_required",
    "432": "password_expired",
    "535": "wrong_password",
}
_UNFIT: Mapping[str, str] = {  # what was entered of the server, or chosen by us, does not fit
    "530": "auth_refused",
    "538": "auth_refused",
    "500": "auth_refused",
    "502": "auth_refused",
    "504": "auth_refused",
}


_ADVICE: Mapping[str, str] = {
    "wrong_password": "The mail server refuses this user name and password: correct them.",
    "app_password_required": "The mail provider takes no ordinary password from programs: make an app password"
    " there (Google: myaccount.google.com/apppasswords, which needs two-step verification), and enter that.",
    "basic_auth_disabled": "Passwords are switched off for mail programs in this organisation: its administrator"
    " has to allow SMTP AUTH for the mailbox.",
    "password_expired": "The mail server wants the password changed first: change it there, and enter the new"
    " one.",
    "auth_refused": "The mail server takes no sign-in of this sort there: look at server, port and security.",
    "auth_not_offered": "The mail server offers no way to sign in there: look at server, port and security.",
    "starttls_missing": "The mail server offers no STARTTLS at this port, and without TLS no password is sent:"
    " take port 465 with implicit TLS, or the right server.",
    "certificate_refused": "The mail server's certificate is not of this name, or nobody trusts it: take the name"
    " that the mail provider gives.",
    "no_such_port": "A port is a number from 1 to 65535.",
    "mail_token_refused": "Google's mail server refuses the token of the Google connection: connect that with the"
    " scope https://mail.google.com/, as the account whose mailbox this is.",
}


class Smtp(Vendor):
    """The built-in provider `smtp`."""

    id, name = "smtp", "SMTP"
    advice = _ADVICE
    kinds = (PASSWORD, XOAUTH2)

    def entered(self, kind: str, credentials: Mapping[str, Secret]) -> Account | None:
        server = self._server(credentials)
        if not 0 < server.port < 65_536:
            raise Unreadable("no_such_port")
        return Account(f"{server.username}@{server.host}".casefold(), server.username)

    def probe(self, root: Root, access_token: Secret | None) -> Steps[Finding]:
        login = self._server(root.credentials, access_token)
        if login.password is None and login.access_token is None:
            return Finding(verdict="unknown", code="not_fed")
        found = _judged((yield login))
        if access_token is not None and found.code == "wrong_password":
            return replace(found, code="mail_token_refused")
        return found

    def handout(self, kind: str, credentials: Mapping[str, Secret], access_token: Secret | None = None) -> Handout:
        server = self._server(credentials)
        given = {"host": server.host, "port": str(server.port), "tls": server.tls, "username": server.username}
        found = {name: Secret(value) for name, value in given.items()}
        if access_token is not None:
            return Handout(credentials={**found, "sasl_xoauth2": _sasl(server.username, access_token)})
        return Handout(credentials={**found, "password": credentials["password"]})

    def _server(self, credentials: Mapping[str, Secret], access_token: Secret | None = None) -> MailLogin:
        tls: Literal["implicit", "starttls"] = "starttls"
        port, chosen = plain(credentials, "port"), plain(credentials, "tls")
        if chosen == "implicit" or (not chosen and port == "465"):
            tls = "implicit"
        return MailLogin(
            # A Google token goes to Google, whatever is entered: the server would see it.
            host=plain(credentials, "host") or self.endpoints["google_mail_host"],
            port=int(port or ("465" if tls == "implicit" else "587")),
            tls=tls,
            username=plain(credentials, "username"),
            password=credentials.get("password"),
            access_token=access_token,
        )


def _sasl(username: str, access_token: Secret) -> Secret:
    """Return the initial response of SASL XOAUTH2, ready to be sent."""
    response = f"user={username}\x01auth=Bearer {access_token.reveal()}\x01\x01"
    return Secret(base64.b64encode(response.encode()).decode())


def _judged(answer: Answer) -> Finding:
    """Return what a reply says of what was signed in with. Raises Transient where it says nothing of that."""
    enhanced, plain = _CODE.match(answer.body.decode(errors="replace")), str(answer.status)
    if answer.status == 235:
        return Finding(verdict="valid")
    for code in (enhanced[1] if enhanced else "", plain):
        if code in _REFUSED:
            return Finding(verdict="invalid", code=_REFUSED[code])
    if plain in _UNFIT:
        return Finding(verdict="invalid", code=_UNFIT[plain])
    raise Transient(f"smtp_{plain}")
