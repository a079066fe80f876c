"""The kinds of credentials that a standard provider takes, by its grant types."""

from dataclasses import replace

from integrations.assertions import JWT_BEARER
from integrations.contract import Field, Kind
from integrations.definition import Definition

_SCOPE = Field(name="scope", label="Scopes, separated by spaces", secret=False, required=False)
CONSENT = Kind(id="oauth2", label="Connect an account", how="consent", renewal="refresh_token")
CLIENT_CREDENTIALS = Kind(
    id="client_credentials",
    label="The client's own access",
    how="enter",
    renewal="client_credentials",
    fields=(_SCOPE,),
)
JWT = Kind(
    id="jwt_bearer",
    label="A private key",
    how="enter",
    renewal="jwt_bearer",
    fields=(
        Field(name="private_key", label="Private key", multiline=True, help="A PEM file, or a JWK."),
        Field(name="issuer", label="Issuer", secret=False, help="Who signs: often a client or account id."),
        Field(name="subject", label="Subject", secret=False, required=False, help="On whose behalf."),
        Field(name="audience", label="Audience", secret=False, required=False, help="The token endpoint."),
        _SCOPE,
        Field(name="key_id", label="Key id", secret=False, required=False, help="Where the provider gives one."),
        Field(name="algorithm", label="Algorithm", secret=False, required=False, help="RS256; ES256 and so on."),
    ),
)


def kinds_of(definition: Definition) -> list[Kind]:
    """Return the kinds that the grant types of *definition* come to, in their order."""
    by_device = ("device",) if definition.device_authorization_endpoint else ()
    known = {
        "authorization_code": replace(CONSENT, abilities=by_device),
        "client_credentials": CLIENT_CREDENTIALS,
        JWT_BEARER: replace(JWT, uses_client=definition.token_endpoint_auth_method != "none"),  # noqa: S105
    }
    kinds = [known[grant_type] for grant_type in definition.grant_types if grant_type in known]
    return [replace(kind, refresh_margin=definition.refresh_margin) for kind in kinds]
