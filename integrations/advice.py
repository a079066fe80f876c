"""What a person can do about a code, in a sentence: for those codes whose name alone helps nobody.

What only one provider says is with its adapter.
"""

from collections.abc import Mapping

from integrations.builtin import ADAPTERS

_COMMON: dict[str, str] = {
    "time_limit_reached": "Access was granted for a limited time, which is over: connect again.",
    "no_refresh_token": "The provider gave access for an hour only, as it does where access was granted before:"
    " follow the link again, and it will ask for consent anew. If it does not, withdraw this app's access at the"
    " provider before.",
    "redirect_uri_mismatch": "The redirect address is not registered with the client: add it at the provider.",
    "deleted_client": "The client was deleted at the provider: restore it there, or register another one.",
    "clock_skew": "This machine's clock is wrong by minutes: set it right.",
    "account_suspended": "The account is suspended or closed at the provider: settle it there, then verify again.",
    "invalid_client": "The provider does not know this client ID, or its secret is another: copy both anew.",
    "unauthorized_client": "The provider does not let this client get tokens in this way: allow it there, or copy"
    " the client ID of another one.",
    "address_refused": "The mail server is at an address inside a network, where the vault does not go.",
    "name_unknown": "No server of this name is known: look at the name, and at this machine's name service.",
    "tls_failed": "No TLS could be had there: look at the server's name and port (of mail servers: 465 where it"
    " is implicit, 587 for STARTTLS), and who is on the way.",
    "not_fed": "The Google connection that gives the token is not connected, or has none that works now.",
    "ends_within_14_days": "The access ends in 14 days and is not renewed: connect again, or enter a new token.",
    "ends_within_7_days": "The access ends in 7 days and is not renewed: connect again, or enter a new token.",
    "ends_within_1_days": "The access ends within a day and is not renewed: connect again, or enter a new token.",
}

ADVICE: Mapping[str, str] = _COMMON | {
    code: said for adapter in ADAPTERS.values() for code, said in adapter.advice.items()
}
