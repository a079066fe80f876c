"""What the parameters of the API mean: each name means the same wherever it stands."""

from vault import names

PATH = "/{tenant:str}/{provider:str}/{name:str}"  # of a connection
_NAME = f"^{names.NAME.pattern}$"
_PROVIDER = f"^{names.PROVIDER.pattern}$"
_WORD = "^[A-Za-z0-9][A-Za-z0-9._:/@~-]{0,127}$"
_LINE = r"^[^\x00-\x1f\x7f]{1,256}$"
# By name: what it is, and the pattern of it.
PARAMETERS: dict[str, tuple[str, str | None]] = {
    "tenant": ("Whom it belongs to.", _NAME),
    "provider": ("A provider of the catalogue.", _PROVIDER),
    "name": ("One of the tenant's connections at the provider.", _NAME),
    "caller_id": ("The `id` of an API key: the part after `tv_`.", _NAME),
    "ticket": ("What the connect link ends with.", None),
    "min_ttl": ("Seconds that the token has to live longer; at most half of its life is asked for.", None),
    "wait": ("Seconds to wait for a refresh at most.", None),
    "status": ("Only those of this status.", None),
    "expiring_within": (
        "Only those that need somebody within so many seconds, or do already: whose refresh token ends by then, "
        "or whose access token does where nothing renews it.",
        None,
    ),
    "client_id": ("Which registration, where not the current one.", _LINE),
    "cursor": ("The `next` of the page before.", None),
    "limit": ("How many to return at most.", None),
    "revoke": (
        "Whether grants are to end at their providers too; `all`: also where that takes other connections along.",
        None,
    ),
    "if_match": ("Only while this is its ETag; `*`: if it is there.", None),
    "if_none_match": ("`*`: only if it is not there yet.", None),
    "cascade": ("Whether all that hangs on it goes with it.", None),
    "parent": ("Only those directly below this one.", _NAME),
    "action": ("Only records of this action.", None),
    "outcome": ("Only records with this outcome.", _WORD),
    "actor": ("Only records of what this one did: `caller:ID`, `scheduler`, `person` or `operator`.", _WORD),
    "request_id": ("Only records of this request.", _WORD),
    "since": ("From here on, this included.", None),
    "until": ("Up to here.", None),
}


def path_of(tenant: str, provider: str, name: str) -> tuple[str, str, str]:
    """Return the path of a connection. Raises Invalid, naming what cannot be one."""
    names.check(tenant=tenant, provider=provider, name=name)
    return tenant, provider, name
