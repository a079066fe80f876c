"""What Meta says of a token (`debug_token`), read with indulgence: numbers as text, nulls, missing fields.

Sources: `https://developers.facebook.com/docs/graph-api/reference/debug_token` and
`https://developers.facebook.com/docs/facebook-login/guides/access-tokens/debugging`.
"""

from dataclasses import dataclass
from typing import Any

from integrations.answers import lifetime, number, text
from integrations.contract import Account, GrantRejected, Secret, TokenSet
from integrations.whatsapp.refusals import why_dead

# What a token is for here: its ability by the scope that gives it.
ABILITIES = {
    "whatsapp_business_management": "manage_account",
    "whatsapp_business_messaging": "send_messages",
}
SHORT = 86_400  # seconds: what ends sooner is of a login in a browser, and good for an hour or two
_LONGEST_ID = 64  # characters
_MOST_NAMED = 3  # accounts in a label
_NAMES = {"SYSTEM_USER": "system user", "PAGE": "page"}


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a living token, in seconds: *expires_in* is None where it was not said, or never *ends*.

    A person's token outlives what they let the app see: *data_access_expires_in* is 0 where that is over.
    """

    type: str | None
    scopes: tuple[str, ...]
    account: Account | None
    ends: bool
    expires_in: int | None
    data_access_expires_in: int | None

    @property
    def is_short(self) -> bool:
        """Say whether it is a person's of an hour or two, which Meta exchanges for one of two months."""
        of_a_person = self.type in {None, "USER"}
        return of_a_person and self.ends and (self.expires_in is None or self.expires_in < SHORT)

    @property
    def lacks(self) -> tuple[str, ...]:
        """Return the abilities that its scopes do not give."""
        return tuple(ability for scope, ability in ABILITIES.items() if scope not in self.scopes)

    def tokens(self, token: Secret) -> TokenSet:
        """Return *token* as it is to be stored: it renews itself, if it ever ends."""
        return TokenSet(
            access_token=token,
            refresh_token=token if self.ends else None,
            expires_in=self.expires_in,
            refresh_expires_in=self.data_access_expires_in,
            scopes=self.scopes or None,
            account=self.account,
            ends=self.ends,
        )


def read_facts(data: dict[str, Any], client_id: str, now: float) -> Facts:
    """Return what *data* says at *now* (Unix time) of a token of the app *client_id*'s.

    Raises GrantRejected where it is dead, or of another app.
    """
    if data.get("is_valid") is not True:
        raise GrantRejected(why_dead(data.get("error")))
    if _id(data.get("app_id")) not in {None, client_id}:
        raise GrantRejected("other_app")
    expires_at, data_access = number(data.get("expires_at")), number(data.get("data_access_expires_at"))
    if expires_at and expires_at <= now:
        raise GrantRejected("token_expired")
    return Facts(
        type=text(data.get("type")),
        scopes=tuple(scope for scope in _list(data.get("scopes")) if text(scope)),
        account=_account(data),
        ends=expires_at != 0,
        expires_in=lifetime(int(expires_at - now)) if expires_at else None,
        data_access_expires_in=lifetime(int(data_access - now)) if data_access else None,
    )


def _account(data: dict[str, Any]) -> Account | None:
    """Return whose token it is: the one WhatsApp account that it was made for, or else the user.

    A person's is theirs, however few accounts it was granted: their grant to the app ends as a whole.
    """
    user, targets, kind = _id(data.get("user_id")), _targets(data), text(data.get("type"))
    subject = targets[0] if len(targets) == 1 and kind != "USER" else user
    if subject is None:
        return None
    names = [f"{_NAMES.get(kind or '', 'user')} {user}"] if user else []
    names += [f"WhatsApp account {target}" for target in targets[:_MOST_NAMED]]
    return Account(subject, ", ".join(names))


def _targets(data: dict[str, Any]) -> list[str]:
    """Return the WhatsApp accounts that it was granted one by one: none where that is all, or unknown."""
    found = set[str]()
    for one in _list(data.get("granular_scopes")):
        if isinstance(one, dict) and one.get("scope") in ABILITIES:
            found.update(target for each in _list(one.get("target_ids")) if (target := _id(each)))
    return sorted(found)


def _id(value: object) -> str | None:
    """Return an id, which Meta gives as text or as a number."""
    found = str(value) if type(value) is int else text(value)
    return found if found and len(found) <= _LONGEST_ID and found.isprintable() else None


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
