"""The tables. CHECKs and partial indexes carry the rules that matter, so that no code path can break them."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from vault.store.moments import Moment

AnyRow = Row[*tuple[Any, ...]]

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

RENEWALS = ("refresh_token", "client_credentials", "jwt_bearer", "self_exchange", "login_refresh", "none")
STATUSES = ("unconfigured", "configured", "verified", "degraded", "failed")

instance = Table(
    "instance",
    metadata,
    # One row: this installation's name, bound into every sealed value.
    Column("single", Integer, primary_key=True, autoincrement=False),
    Column("id", String, nullable=False),
    CheckConstraint("single = 1", name="one_row"),
)

keyring = Table(
    "keyring",
    metadata,
    Column("key_id", BigInteger, primary_key=True, autoincrement=False),
    Column("purpose", String, nullable=False),
    Column("state", String, nullable=False),
    Column("created_at", Moment, nullable=False),
    CheckConstraint("purpose IN ('values', 'mac')", name="purpose"),
    CheckConstraint("state IN ('pending', 'primary', 'decrypt_only', 'disabled')", name="state"),
    Index(
        "uq_keyring_primary",
        "purpose",
        unique=True,
        sqlite_where=text("state = 'primary'"),
        postgresql_where=text("state = 'primary'"),
    ),
)

keyring_wraps = Table(
    "keyring_wraps",
    metadata,
    Column("key_id", BigInteger, ForeignKey("keyring.key_id"), primary_key=True),
    Column("slot", Integer, primary_key=True),
    Column("kdf", String, nullable=False),
    Column("kdf_params", Text, nullable=False),
    Column("salt", LargeBinary, nullable=False),
    Column("wrapped_key", LargeBinary, nullable=False),
)

sealed_values = Table(
    "sealed_values",
    metadata,
    Column("owner_kind", String, primary_key=True),
    Column("owner_id", String, primary_key=True),
    Column("field", String, primary_key=True),
    Column("generation", BigInteger, nullable=False),
    Column("format", Integer, nullable=False),
    Column("key_id", BigInteger, ForeignKey("keyring.key_id"), nullable=False, index=True),
    Column("salt", LargeBinary, nullable=False),
    Column("iv", LargeBinary, nullable=False),
    Column("commitment", LargeBinary, nullable=False),
    Column("ciphertext", LargeBinary, nullable=False),
)

tenants = Table(
    "tenants",
    metadata,
    Column("id", String, primary_key=True),
    # Only the root has no parent, and the root is always there.
    Column("parent_id", String, ForeignKey("tenants.id"), index=True),
    Column("name", String, nullable=False),
    Column("return_urls", Text, nullable=False, server_default="[]"),
    # Whether it uses what ancestors share, where it has nothing of its own.
    Column("inherit", Boolean, nullable=False, server_default=text("true")),
    Column("created_at", Moment, nullable=False),
    # A kill switch for the tenant and all below it.
    Column("paused_at", Moment),
    CheckConstraint("(id = 'platform') = (parent_id IS NULL)", name="one_root"),
    CheckConstraint("id <> parent_id", name="not_its_own_parent"),
)

providers = Table(
    "providers",
    metadata,
    Column("id", String, primary_key=True),
    Column("definition", Text, nullable=False),
)

# What a provider as a whole has told us, apart from any connection.
provider_states = Table(
    "provider_states",
    metadata,
    Column("provider", String, primary_key=True),
    # Until then it is asked nothing: its own Retry-After, or the open breaker's.
    Column("retry_not_before", Moment),
    # Open: too much failed at once. One call at a time finds out whether that is over.
    Column("breaker", String, nullable=False, server_default="closed"),
    Column("trips", Integer, nullable=False, server_default="0"),
    Column("paused_at", Moment),
    CheckConstraint("breaker IN ('closed', 'open')", name="breaker"),
)

clients = Table(
    "clients",
    metadata,
    Column("id", String, primary_key=True),
    Column("tenant_id", String, ForeignKey("tenants.id"), nullable=False),
    Column("provider", String, nullable=False),
    Column("client_id", String, nullable=False),
    # The registration that new consents use; others stay for the grants that they got.
    Column("current", Boolean, nullable=False),
    Column("state", String, nullable=False),
    Column("rejected_at", Moment),
    Column("retry_not_before", Moment),
    Column("generation", BigInteger, nullable=False, server_default="1"),
    Column("created_at", Moment, nullable=False),
    Column("paused_at", Moment),
    # How it authenticates, where that is not as the provider's definition says.
    Column("settings", Text, nullable=False, server_default="{}"),
    # When its secret was entered.
    Column("secret_since", Moment),
    # The same of the former secret while that is live too; both are null where none is.
    Column("previous_settings", Text),
    Column("previous_since", Moment),
    # Whether of the two the former one is tried first: it worked where the other was refused.
    Column("previous_first", Boolean, nullable=False, server_default=text("false")),
    # The tenant whose key has paused it: whoever is not there, or above, does not resume it.
    Column("paused_by", String),
    CheckConstraint("state IN ('active', 'rejected')", name="state"),
    UniqueConstraint("tenant_id", "provider", "client_id"),
    Index(
        "uq_clients_current",
        "tenant_id",
        "provider",
        unique=True,
        sqlite_where=text("current"),
        postgresql_where=text("current"),
    ),
)

connections = Table(
    "connections",
    metadata,
    Column("id", String, primary_key=True),
    Column("tenant_id", String, ForeignKey("tenants.id"), nullable=False),
    Column("provider", String, nullable=False),
    Column("name", String, nullable=False),
    Column("kind", String, nullable=False),
    # Fixed at consent: a refresh token belongs to the client that got it.
    Column("client", String, ForeignKey("clients.id"), index=True),
    Column("account", String),
    Column("account_label", String),
    # What was granted, and what was asked for: connecting again asks for all of it again.
    Column("scopes", Text, nullable=False, server_default="[]"),
    Column("asked_scopes", Text, nullable=False, server_default="[]"),
    Column("metadata", Text, nullable=False, server_default="{}"),
    # What goes with its credentials and is no secret.
    Column("settings", Text, nullable=False, server_default="{}"),
    Column("enabled", Boolean, nullable=False),
    # Whether its own tokens are served, or what its tenant inherits; and whether descendants inherit them.
    Column("prefer", String, nullable=False, server_default="own"),
    Column("shared", Boolean, nullable=False, server_default=text("false")),
    Column("created_at", Moment, nullable=False),
    # A tombstone: its name is free again, its row waits until no lease can be out on it.
    Column("deleted_at", Moment),
    # On a tombstone: a provider is being asked to revoke its grant.
    Column("revoking", Boolean, nullable=False, server_default=text("false")),
    # What was entered, as people may see it: without what is secret, or the last of it.
    Column("shown", Text),
    # Who entered it, or edited anything else of it, and when.
    Column("changed_by", String),
    Column("changed_at", Moment),
    CheckConstraint("prefer IN ('own', 'inherited')", name="prefer"),
    Index(
        "uq_connections_living",
        "tenant_id",
        "provider",
        "name",
        unique=True,
        sqlite_where=text("deleted_at IS NULL"),
        postgresql_where=text("deleted_at IS NULL"),
    ),
    Index(
        "ix_connections_buried",
        "deleted_at",
        sqlite_where=text("deleted_at IS NOT NULL"),
        postgresql_where=text("deleted_at IS NOT NULL"),
    ),
    # What else an account is connected as: a revocation may end all of it.
    Index(
        "ix_connections_account",
        "provider",
        "account",
        sqlite_where=text("deleted_at IS NULL"),
        postgresql_where=text("deleted_at IS NULL"),
    ),
)

# What the machine writes, apart from what people edit: an edited label can never make a token write lose.
token_states = Table(
    "token_states",
    metadata,
    Column("connection_id", String, ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True),
    Column("provider", String, nullable=False),
    Column("client", String),
    Column("status", String, nullable=False),
    Column("reason", String),
    # Are these still the tokens I started from? Rises with every new token set.
    Column("generation", BigInteger, nullable=False),
    # The generation with which the present grant began: below it, tokens are of a former grant.
    Column("granted_generation", BigInteger, nullable=False),
    Column("renewal", String, nullable=False),
    Column("access_expires_at", Moment),
    Column("issued_lifetime", BigInteger),
    Column("refresh_expires_at", Moment),
    Column("refreshed_at", Moment),
    Column("verified_at", Moment),
    Column("next_refresh_at", Moment),
    Column("last_asked_at", Moment),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("first_failed_at", Moment),
    Column("last_error_code", String),
    Column("retry_not_before", Moment),
    # Whether retry_not_before is the provider's own word (or a bug's penalty), which nobody's asking shortens.
    Column("retry_dictated", Boolean, nullable=False, server_default=text("false")),
    Column("lease_holder", String),
    Column("lease_expires_at", Moment),
    # Is it still my turn? Rises with every claim.
    Column("lease_fence", BigInteger, nullable=False, server_default="0"),
    Column("attempt_id", String),
    # The write-ahead intent: which generation's refresh token may have been sent, outcome not yet known.
    Column("inflight_generation", BigInteger),
    Column("retake_after", Moment),
    # An attempt on this generation ended without anybody knowing how: a rejection now is our loss.
    Column("uncertain", Boolean, nullable=False, server_default=text("false")),
    Column("last_success_attempt", String),
    # Why the sweep passes it by, without a look at its client or tenant: "rejected" (its client), "paused".
    Column("parked", String),
    # The newest tokens that a caller saw refused downstream, and how many seconds they had lived by then.
    Column("rejected_generation", BigInteger),
    Column("rejected_age", BigInteger),
    # Seconds that tokens really live, where the provider says more.
    Column("learned_lifetime", BigInteger),
    # When a person consented to the present grant. What ends with its age is told apart by it.
    Column("granted_at", Moment),
    # When credentials that never change are to be tried again, when they were, and what they turned out not to do.
    Column("next_check_at", Moment),
    Column("checked_at", Moment),
    Column("lacks", Text),
    CheckConstraint(f"status IN {STATUSES}", name="status"),
    CheckConstraint(f"renewal IN {RENEWALS}", name="renewal"),
    CheckConstraint("(lease_holder IS NULL) = (lease_expires_at IS NULL)", name="whole_lease"),
    CheckConstraint("inflight_generation IS NULL OR retake_after IS NOT NULL", name="intent_has_an_end"),
    CheckConstraint("granted_generation <= generation", name="granted_before_now"),
    CheckConstraint("parked IN ('rejected', 'paused')", name="parked"),
    # What the sweep claims from. However many rows of a rejected client are due, none of them is in it.
    Index(
        "ix_token_states_due",
        "provider",
        "next_refresh_at",
        sqlite_where=text("next_refresh_at IS NOT NULL AND parked IS NULL"),
        postgresql_where=text("next_refresh_at IS NOT NULL AND parked IS NULL"),
    ),
    Index(
        "ix_token_states_to_check",
        "next_check_at",
        sqlite_where=text("next_check_at IS NOT NULL"),
        postgresql_where=text("next_check_at IS NOT NULL"),
    ),
    Index("ix_token_states_client", "client"),
    # Where the next try of a rejected client is found.
    Index(
        "ix_token_states_rejected",
        "client",
        "next_refresh_at",
        sqlite_where=text("parked = 'rejected'"),
        postgresql_where=text("parked = 'rejected'"),
    ),
)

# Gates that changed and whose connections have not all been parked or set free yet: whoever began that may
# have died over it.
unsettled_gates = Table(
    "unsettled_gates",
    metadata,
    Column("kind", String, primary_key=True),
    Column("key", String, primary_key=True),
    CheckConstraint("kind IN ('client', 'tenant')", name="kind"),
)

# Successors that lost a race. Kept as long as their connection: one of them may be the only good copy.
orphaned_tokens = Table(
    "orphaned_tokens",
    metadata,
    Column("attempt_id", String, primary_key=True),
    Column("connection_id", String, nullable=False, index=True),
    Column("generation", BigInteger, nullable=False),
    Column("seen_at", Moment, nullable=False),
)

tickets = Table(
    "tickets",
    metadata,
    Column("id", String, primary_key=True),
    Column("connection_id", String, ForeignKey("connections.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("scopes", Text, nullable=False, server_default="[]"),
    Column("return_url", String),
    Column("replace_account", Boolean, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("succeeded_at", Moment),
)

pending_authorizations = Table(
    "pending_authorizations",
    metadata,
    # The state itself is only in the browser; a stolen row cannot be replayed.
    Column("state_digest", LargeBinary, primary_key=True),
    Column("browser_digest", LargeBinary, nullable=False),
    Column("ticket_id", String, ForeignKey("tickets.id", ondelete="CASCADE"), nullable=False),
    Column("provider", String, nullable=False),
    Column("client", String, ForeignKey("clients.id"), nullable=False),
    Column("redirect_uri", String, nullable=False),
    Column("expires_at", Moment, nullable=False, index=True),
    Column("used_at", Moment),
)

# Consents that a person gives at another device (RFC 8628): the provider is asked now and then about them.
device_authorizations = Table(
    "device_authorizations",
    metadata,
    Column("id", String, primary_key=True),
    # One at a time: whoever begins anew has given up the one before.
    Column("connection_id", String, ForeignKey("connections.id", ondelete="CASCADE"), nullable=False, unique=True),
    Column("client", String, ForeignKey("clients.id"), nullable=False, index=True),
    Column("scopes", Text, nullable=False),
    Column("replace_account", Boolean, nullable=False),
    # Seconds between two questions: the provider's word, and five more each time that it finds us too quick.
    Column("interval_seconds", Integer, nullable=False),
    Column("next_poll_at", Moment, nullable=False, index=True),
    Column("expires_at", Moment, nullable=False),
)

# What is to be done with credentials at their provider, by an ability of their kind: at some time, or begun and
# not ended yet.
works = Table(
    "works",
    metadata,
    Column("connection_id", String, ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True),
    Column("ability", String, nullable=False),
    Column("due_at", Moment, nullable=False, index=True),
    # Somebody is at it, or has died over it: what is changed of a schedule does not concern it.
    Column("begun", Boolean, nullable=False),
    Column("failures", Integer, nullable=False, server_default="0"),
)

# When what is entered at a path was tried: each try takes a slot of it, connection or not.
tries = Table(
    "tries",
    metadata,
    Column("path", String, primary_key=True),
    Column("slot", Integer, primary_key=True, autoincrement=False),
    Column("tried_at", Moment, nullable=False),
)

callers = Table(
    "callers",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("key_digest", LargeBinary, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("tenant_id", String, ForeignKey("tenants.id"), nullable=False),
    Column("providers", Text),
    Column("names", Text),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment),
)

audit_events = Table(
    "audit_events",
    metadata,
    # One stream a process start, written by one task: seq has no gaps and is the commit order.
    Column("stream", String, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Moment, nullable=False),
    Column("actor", String, nullable=False),
    Column("action", String, nullable=False),
    Column("outcome", String, nullable=False),
    Column("tenant", String),
    Column("provider", String),
    Column("name", String),
    Column("generation", BigInteger),
    Column("request_id", String),
    Column("detail", Text, nullable=False, server_default="{}"),
    # Chains the record to the one before it; only records from before there was a chain have none.
    Column("mac", LargeBinary),
    Index("ix_audit_events_at", "at"),
)

# Where each stream of the audit begins, and how far it is known to reach. Both are signed.
audit_streams = Table(
    "audit_streams",
    metadata,
    Column("stream", String, primary_key=True),
    Column("started_at", Moment, nullable=False),
    # The heads of other streams when this one began, as JSON: a stream that is gone altogether is missed.
    Column("links", Text, nullable=False),
    # The last record that is gone by retention: 0 and the chain's beginning where none is.
    Column("base_seq", BigInteger, nullable=False),
    Column("base_mac", LargeBinary, nullable=False),
    Column("base_signature", LargeBinary, nullable=False),
    # A record that was there: a stream that ends before it was cut.
    Column("head_seq", BigInteger, nullable=False),
    Column("head_mac", LargeBinary, nullable=False),
    Column("head_at", Moment, nullable=False),
    Column("head_signature", LargeBinary, nullable=False),
    CheckConstraint("base_seq <= head_seq", name="base_before_head"),
)

# How many tokens were handed out: by the path that was asked for, and by whose connection they came from.
usage_daily = Table(
    "usage_daily",
    metadata,
    Column("day", Integer, primary_key=True, autoincrement=False),  # days since 1970, UTC
    Column("tenant", String, primary_key=True),
    Column("provider", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("source", String, primary_key=True),  # a tenant
    Column("handed_out", BigInteger, nullable=False),
    # When the tenant was made that handed them out; null where a former version counted, which did not say.
    Column("since", Moment),
    # How many of them tenants of that id handed out that were deleted before. Not part of the key: what a
    # former version adds to a figure has to find it.
    Column("former", BigInteger, nullable=False, server_default="0"),
)

# How far the hand-outs of each stream of the audit are in `usage_daily`: moved in the transaction that puts them
# there, so that none is counted twice or never.
usage_marks = Table(
    "usage_marks",
    metadata,
    Column("stream", String, primary_key=True),
    Column("seq", BigInteger, nullable=False),
)

# What replicas have to forget of what they remember, in the order in which it was written.
changes = Table(
    "changes",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("kind", String, nullable=False),
    Column("key", String, nullable=False),
    Column("at", Moment, nullable=False, index=True),
    CheckConstraint("kind IN ('connection', 'caller', 'tenant', 'gate')", name="kind"),
    sqlite_autoincrement=True,
)

# One-time links with which an operator signs in to the pages, and the browsers that did.
sign_ins = Table(
    "sign_ins",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("expires_at", Moment, nullable=False),
    Column("used_at", Moment),
)
sessions = Table(
    "sessions",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False, index=True),
)
