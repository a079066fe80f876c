"""Another API key in the place of the present one: made, taken into use, and only then the former one deleted.

Sources: Twilio's OpenAPI description (`iam_v1`) and `https://www.twilio.com/docs/iam/api-keys`. The secret of a
key is in the answer to its creation and nowhere else: it is kept before anything is done with it. Where that
answer was lost, the key is found by its name and deleted.
"""

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import replace

from integrations.answers import text
from integrations.contract import Finding, Keep, OutcomeUnknown, Root, Secret, Steps, Transient, Work
from integrations.twilio.calls import Api, Object, Probe, Unable, placed
from integrations.twilio.errors import read

Credentials = Mapping[str, Secret]
_NAMED = re.compile(r" \(vault [0-9a-f]{8}\)$")
LONGEST_NAME = 64  # characters


class ApiKeyRotation:
    """A key with the same policy, if it has one.

    No key may make keys but a Main one, and those are made by people only: so it takes the account's Auth Token.
    Kept are `key_name` before a key is made, to find it again; the new `api_key_sid` and `api_key_secret`; and
    once they are in use `retired_sid`.
    """

    def __init__(self, endpoints: Mapping[str, str], root: Root, probe: Probe) -> None:
        self._endpoints = endpoints
        self._root = root
        self._probe = probe

    def run(self) -> Work[Finding]:
        """Make a key, or go on with what is kept of one, and delete the one in whose place it is."""
        retired = self._root.pending.get("retired_sid")
        if retired == self._root.credentials["api_key_sid"]:
            retired = None  # it was entered once more, and is in use again
        try:
            api = self._managing()
            if retired is None:
                made = yield from self._made(api)
                retired = self._root.credentials["api_key_sid"]
                yield Keep(credentials=made, pending={"retired_sid": retired})
        except Unable as error:
            return Finding(verdict="limited", code=error.code, lacks=("rotate",))
        yield from self._deleted(api, retired.reveal())
        yield Keep()
        return Finding(verdict="valid")

    def _managing(self) -> Api:
        """Return Twilio as somebody who may make keys."""
        own = self._root.credentials
        if "auth_token" not in own:
            raise Unable("rotation_needs_auth_token")
        return Api(self._endpoints, placed(own) | {"auth_token": own["auth_token"]})

    def _made(self, api: Api) -> Work[Credentials]:
        pending = self._root.pending
        if "api_key_sid" in pending:
            kept = {name: pending[name] for name in ("api_key_sid", "api_key_secret")}
            if (yield from self._works(kept)):
                return kept
            yield from self._deleted(api, kept["api_key_sid"].reveal())
        if "key_name" in pending:
            yield from self._swept(api, pending["key_name"].reveal())
        form = yield from self._likeness(api)
        yield Keep(pending={"key_name": Secret(form["FriendlyName"])})
        made = _key_in(read((yield api.request("POST", "iam_url", "/v1/Keys", form=form))))
        yield Keep(pending=made)
        if not (yield from self._works(made)):
            raise Transient("key_not_ready")
        return made

    def _likeness(self, api: Api) -> Steps[dict[str, str]]:
        """Return what makes a key like the present one, by a name that no other has."""
        sid = self._root.credentials["api_key_sid"].reveal()
        known = read((yield api.request("GET", "iam_url", f"/v1/Keys/{sid}")))
        form = {"AccountSid": api.account, "FriendlyName": _name_after(text(known.get("friendly_name")))}
        policy = known.get("policy")
        if isinstance(policy, dict):
            return {**form, "KeyType": "restricted", "Policy": json.dumps(policy)}
        yield from self._require_no_main_key()
        return form

    def _require_no_main_key(self) -> Steps[None]:
        """Raise Unable for a key that may look at the account: one made in its place could do less."""
        own = Api(self._endpoints, self._root.credentials)
        answer = yield own.request("GET", "api_url", own.account_path(""))
        if answer.status == 200:
            raise Unable("main_key")

    def _swept(self, api: Api, name: str) -> Steps[None]:
        """Delete what was made by a *name* of ours, and whose secret nobody has."""
        current = self._root.credentials["api_key_sid"].reveal()
        for key in (yield from api.listed("iam_url", "/v1/Keys", "keys", {"AccountSid": api.account})):
            sid = text(key.get("sid"))
            if key.get("friendly_name") == name and sid is not None and sid != current:
                yield from self._deleted(api, sid)

    def _deleted(self, api: Api, sid: str) -> Steps[None]:
        answer = yield api.request("DELETE", "iam_url", f"/v1/Keys/{sid}")
        if answer.status != 404:
            read(answer)

    def _works(self, key: Credentials) -> Steps[bool]:
        held = placed(self._root.credentials) | dict(key)
        found = yield from self._probe(replace(self._root, credentials=held))
        return found.verdict != "invalid"


def _name_after(name: str | None) -> str:
    """Return a name that no other key has, made of *name*."""
    mark = f" (vault {secrets.token_hex(4)})"
    return _NAMED.sub("", name or "key")[: LONGEST_NAME - len(mark)] + mark


def _key_in(body: Object) -> Credentials:
    sid, secret = text(body.get("sid")), text(body.get("secret"))
    if sid is None or secret is None:
        raise OutcomeUnknown("no_key_in_answer")
    return {"api_key_sid": Secret(sid), "api_key_secret": Secret(secret)}
