"""What WhatsApp can be connected with, and the settings that an app has there alone."""

from dataclasses import replace

from integrations.contract import Field, Kind
from integrations.whatsapp.token import ABILITIES

DAY = 86_400
MARGIN = 20 * DAY
CHECKED = 2 * DAY  # nobody is told by Meta that a token is over; with its jitter, this is never twice a day

CONSENT = Kind(
    id="oauth2",
    label="Connect with Facebook",
    how="consent",
    renewal="self_exchange",
    refresh_margin=MARGIN,
    check_every=CHECKED,
    abilities=tuple(ABILITIES.values()),
)
TOKEN = replace(
    CONSENT,
    id="access_token",
    label="Access token",
    how="enter",
    fields=(
        Field(
            name="access_token",
            label="Access token",
            pattern=r"[A-Za-z0-9_.\-\|]+",
            help="business.facebook.com, Settings, Users, System users, Generate token, for the app that is"
            " registered here.",
        ),
    ),
)
SIGNUP = replace(
    TOKEN,
    id="embedded_signup",
    becomes=TOKEN.id,
    label="Code of an Embedded Signup",
    fields=(
        Field(
            name="code",
            label="Code",
            pattern=r"[!-~]+",
            help="What Facebook's script gave the page after the signup. It is good for 30 seconds, once.",
        ),
    ),
)
CONFIG_ID = Field(
    name="config_id",
    label="Login configuration",
    secret=False,
    required=False,
    help="developers.facebook.com, the app, Facebook Login for Business, Configurations: its ID.",
)
EMBEDDED_SIGNUP = Field(
    name="embedded_signup",
    label="Codes come from a page's script",
    secret=False,
    required=False,
    pattern="true|false",
    help="true where the configuration is of an Embedded Signup, whose codes are of no redirect.",
)
