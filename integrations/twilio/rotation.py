"""Another Auth Token in the place of the present one, without a moment in which neither is known to us.

Sources: Twilio's OpenAPI description (`accounts_v1`) and `https://www.twilio.com/docs/iam/api/authtoken`. The
secondary token is in the answer to its creation and nowhere else: it is kept before anything is done with it.
Where that answer was lost, it is deleted.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import replace

import httpx

from integrations.answers import text
from integrations.contract import (
    Finding,
    Keep,
    Misused,
    OutcomeUnknown,
    ProviderError,
    Root,
    Secret,
    Steps,
    Transient,
    Work,
)
from integrations.twilio.calls import Api, Probe, Unable, placed
from integrations.twilio.errors import read

_MARK = Secret("1")
# What the second of two secondary tokens is refused with is not in Twilio's documents: with one of these.
_ONE_IS_THERE = frozenset({400, 409, 422})


class AuthTokenRotation:
    """Twilio makes a secondary token, which works beside the primary one until it is promoted to its place.

    Kept are `secondary_requested` before one is asked for, so that one whose token is unknown is known to be
    ours; then `secondary_auth_token`, which may have been promoted.
    """

    def __init__(self, endpoints: Mapping[str, str], root: Root, probe: Probe) -> None:
        self._api = Api(endpoints, root.credentials)
        self._root = root
        self._probe = probe

    def run(self) -> Work[Finding]:
        """Make a secondary token, or go on with the one that is kept, and promote it."""
        try:
            token = yield from self._secondary()
        except Unable as error:
            yield Keep()
            return Finding(verdict="limited", code=error.code, lacks=("rotate",))
        yield Keep(credentials={"auth_token": (yield from self._promoted(token))})
        return Finding(verdict="valid")

    def _secondary(self) -> Work[Secret]:
        kept, current = self._root.pending.get("secondary_auth_token"), self._root.credentials["auth_token"]
        if kept is not None and kept != current:
            if (yield from self._works(kept)):
                return kept
            yield from self._deleted()
        elif "secondary_requested" in self._root.pending:
            yield from self._deleted()
        yield Keep(pending={"secondary_requested": _MARK})
        token = yield from self._created()
        yield Keep(pending={"secondary_auth_token": token})
        if not (yield from self._works(token)):
            raise Transient("secondary_not_ready")
        return token

    def _created(self) -> Steps[Secret]:
        answer = yield self._call("POST", "Secondary")
        if answer.status in _ONE_IS_THERE:
            raise Unable("secondary_exists")
        token = text(read(answer).get("secondary_auth_token"))
        if token is None:
            raise OutcomeUnknown("no_token_in_answer")
        return Secret(token)

    def _promoted(self, token: Secret) -> Steps[Secret]:
        """Return the token that is the primary one from now on: *token*, or what the answer says."""
        try:
            said = text(read((yield self._call("POST", "Promote"))).get("auth_token"))
        except ProviderError:
            # It may have been promoted now or before: then the token with which we asked is over.
            if (yield from self._works(self._root.credentials["auth_token"])):
                raise
            if not (yield from self._works(token)):
                raise
            return token
        return Secret(said) if said else token

    def _deleted(self) -> Steps[None]:
        # Where there is none, that is well; where there is one yet, the next call is refused.
        with contextlib.suppress(Misused):
            read((yield self._call("DELETE", "Secondary")))

    def _call(self, method: str, path: str) -> httpx.Request:
        return self._api.request(method, "accounts_url", f"/v1/AuthTokens/{path}")

    def _works(self, token: Secret) -> Steps[bool]:
        """Say whether *token* works. Raises a ProviderError where nobody can tell: then nothing is concluded."""
        held = placed(self._root.credentials) | {"auth_token": token}
        found = yield from self._probe(replace(self._root, credentials=held))
        if found.verdict == "unknown":
            raise Transient(found.code or "probe_unknown")
        return found.verdict != "invalid"
