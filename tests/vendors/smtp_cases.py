"""What a mail server's replies to AUTH mean."""

from integrations.contract import Answer, Root, Secret
from integrations.endpoints import BUILT_IN
from integrations.smtp import Smtp
from tests.vendors.cases import Case

SMTP = Smtp(BUILT_IN["smtp"])
FIELDS = {
    "host": Secret("mail.example"),
    "username": Secret("ann@mail.example"),
    "password": Secret("canary-password"),
}


def reply(code: int, text: str, expected: str) -> Case:
    root = Root(kind="password", credentials=FIELDS)
    return Case(f"{code} {text}", lambda: SMTP.probe(root, None), (Answer(code, body=text.encode()),), expected)


CASES = (
    reply(235, "2.7.0 Authentication successful", "valid"),
    reply(235, "ok", "valid"),
    reply(535, "5.7.8 Error: authentication failed", "invalid wrong_password"),
    reply(535, "Incorrect authentication data", "invalid wrong_password"),
    reply(534, "5.7.9 Application-specific password required.", "invalid app_password_required"),
    reply(534, "5.7.14 Please log in via your web browser", "invalid app_password_required"),
    reply(
        535,
        "5.7.139 Authentication unsuccessful, basic authentication is disabled.",
        "invalid basic_auth_disabled",
    ),
    reply(432, "4.7.12 A password transition is needed", "invalid password_expired"),
    reply(530, "5.7.0 Must issue a STARTTLS command first", "invalid auth_refused"),
    reply(538, "5.7.11 Encryption required", "invalid auth_refused"),
    reply(500, "5.5.1 Command unrecognized", "invalid auth_refused"),
    reply(502, "5.5.1 Command not implemented", "invalid auth_refused"),
    reply(504, "5.5.4 Unrecognized authentication type", "invalid auth_refused"),
    reply(454, "4.7.0 Too many login attempts, please try again later.", "Transient smtp_454"),
    reply(454, "4.7.0 Temporary authentication failure", "Transient smtp_454"),
    reply(421, "4.3.2 Service shutting down", "Transient smtp_421"),
    reply(421, "4.7.0 Too many concurrent connections", "Transient smtp_421"),
    reply(554, "5.7.1 Your address is on a block list", "Transient smtp_554"),
    reply(550, "5.7.1 Access denied", "Transient smtp_550"),
    reply(451, "4.3.0 Temporary server failure", "Transient smtp_451"),
    reply(334, "more", "Transient smtp_334"),
)
