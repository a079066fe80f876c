"""The kinds of credentials at Twilio that a person enters, and their fields."""

from integrations.contract import Field, Kind

DAY = 86_400  # seconds
_TEXT = r"[!-~]+"
ACCOUNT_SID = Field(
    name="account_sid",
    label="Account SID",
    secret=False,
    pattern=r"AC[0-9a-fA-F]{32}",
    help="console.twilio.com, the account's dashboard, Account Info.",
)
PHONE_NUMBER = Field(
    name="phone_number",
    label="Phone number",
    secret=False,
    required=False,
    pattern=r"\+[1-9][0-9]{6,14}",
    help="One of the account's own, as +14155550100: it is looked up whether the account has it.",
)
# `api.{edge}.{region}.twilio.com`; what belongs to one region is refused by all others.
REGION = Field(
    name="region",
    label="Region",
    secret=False,
    required=False,
    pattern=r"[a-z]{2}[0-9]",
    help="us1, ie1 or au1: the one the credentials were made in, us1 where nothing is said.",
)
EDGE = Field(
    name="edge",
    label="Edge location",
    secret=False,
    required=False,
    pattern=r"[a-z]+(-[a-z]+)*",
    help="Where calls enter Twilio's network, as dublin.",
)

AUTH_TOKEN = Kind(
    id="auth_token",
    label="Auth Token",
    how="enter",
    renewal="none",
    uses_client=False,
    check_every=DAY,
    abilities=("rotate", "send_from"),
    fields=(
        ACCOUNT_SID,
        Field(
            name="auth_token",
            label="Auth Token",
            pattern=_TEXT,
            help="console.twilio.com, Account, API keys & tokens, Auth Tokens (Live credentials).",
        ),
        PHONE_NUMBER,
        REGION,
        EDGE,
    ),
)
API_KEY = Kind(
    id="api_key",
    label="API key",
    how="enter",
    renewal="none",
    uses_client=False,
    check_every=DAY,
    abilities=("client_tokens", "rotate", "send_from"),
    fields=(
        ACCOUNT_SID,
        Field(
            name="api_key_sid",
            label="API key SID",
            secret=False,
            pattern=r"SK[0-9a-fA-F]{32}",
            help="console.twilio.com, Account, API keys & tokens, Create API key.",
        ),
        Field(
            name="api_key_secret",
            label="API key secret",
            pattern=_TEXT,
            help="It is shown once, when the key is made.",
        ),
        Field(
            name="auth_token",
            label="Auth Token, to rotate the key with",
            required=False,
            pattern=_TEXT,
            help="No key of this sort may make another one. It is used for nothing else, and never handed out.",
        ),
        PHONE_NUMBER,
        REGION,
        EDGE,
    ),
)
OAUTH_APP = Kind(
    id="oauth_app",
    label="OAuth app",
    how="enter",
    renewal="client_credentials",
    uses_client=False,
    abilities=("send_from",),
    fields=(
        ACCOUNT_SID,
        Field(
            name="client_id",
            label="Client ID",
            secret=False,
            pattern=r"OQ[0-9a-fA-F]{32}",
            help="console.twilio.com, Account, OAuth apps, Create.",
        ),
        Field(
            name="client_secret",
            label="Client secret",
            pattern=_TEXT,
            help="It is shown once, when the app is made.",
        ),
        PHONE_NUMBER,
    ),
)
SIP_TRUNK = Kind(
    id="sip_trunk",
    label="SIP trunk",
    how="enter",
    renewal="none",
    uses_client=False,
    check_every=DAY,
    abilities=("set_up", "repair", "call"),
    fields=(
        ACCOUNT_SID,
        Field(
            name="auth_token",
            label="Auth Token",
            required=False,
            pattern=_TEXT,
            help="This, or an API key: console.twilio.com, Account, API keys & tokens.",
        ),
        Field(
            name="api_key_sid",
            label="API key SID",
            secret=False,
            required=False,
            pattern=r"SK[0-9a-fA-F]{32}",
            help="Of a Standard or a Main key.",
        ),
        Field(
            name="api_key_secret",
            label="API key secret",
            required=False,
            pattern=_TEXT,
            help="Of that key: it is shown once, when the key is made.",
        ),
        Field(
            name="friendly_name",
            label="Trunk",
            secret=False,
            required=False,
            pattern=r".{1,64}",
            help="Its friendly name: console.twilio.com, Elastic SIP Trunking, Trunks. Made where it is missing.",
        ),
        Field(
            name="domain_name",
            label="Termination SIP URI",
            secret=False,
            required=False,
            pattern=r"[A-Za-z0-9\-]{1,63}\.pstn\.twilio\.com",
            help="The trunk's, Termination: as office.pstn.twilio.com.",
        ),
        Field(
            name="username",
            label="Username",
            secret=False,
            required=False,
            pattern=r"[^\s:@]{1,32}",
            help="One of its credential list: made where it is not there.",
        ),
        Field(
            name="password",
            label="Password",
            required=False,
            help="Where the username is there already: Twilio tells it to nobody.",
        ),
    ),
)
