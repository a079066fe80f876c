"""How Twilio's calls are addressed and authenticated, whichever of its hosts they go to."""

from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit

from integrations.calls import basic
from integrations.contract import Secret


def authorization(kind: str, credentials: Mapping[str, Secret]) -> Secret:
    """Return the value of an Authorization header for static *credentials*."""
    if kind == "api_key":
        return basic(credentials["api_key_sid"].reveal(), credentials["api_key_secret"])
    return basic(credentials["account_sid"].reveal(), credentials["auth_token"])


def at(endpoint: str, credentials: Mapping[str, Secret]) -> str:
    """Return *endpoint* as it is in the region and at the edge of *credentials*, where it is Twilio's own."""
    edge, region = (credentials[name].reveal() if name in credentials else "" for name in ("edge", "region"))
    parts = urlsplit(endpoint)
    product, _, rest = parts.netloc.partition(".")
    if rest != "twilio.com" or not (edge or region):
        return endpoint
    host = ".".join(part for part in (product, edge, region or "us1", rest) if part)
    return urlunsplit(parts._replace(netloc=host))
