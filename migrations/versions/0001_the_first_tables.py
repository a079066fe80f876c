"""The first tables.

Up: makes all tables in an empty database, and the root of the tenants.
Down: drops them, and every secret with them.

A migration must not break the version that runs while it is applied: add first, remove a release later.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_events",
        sa.Column("stream", sa.String(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=True),
        sa.Column("provider", sa.String(), nullable=True),
        sa.Column("name", sa.String(), nullable=True),
        sa.Column("generation", sa.BigInteger(), nullable=True),
        sa.Column("request_id", sa.String(), nullable=True),
        sa.Column("detail", sa.Text(), server_default="{}", nullable=False),
        sa.PrimaryKeyConstraint("stream", "seq", name=op.f("pk_audit_events")),
    )
    op.create_table(
        "instance",
        sa.Column("single", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.CheckConstraint("single = 1", name=op.f("ck_instance_one_row")),
        sa.PrimaryKeyConstraint("single", name=op.f("pk_instance")),
    )
    op.create_table(
        "keyring",
        sa.Column("key_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("purpose IN ('values', 'mac')", name=op.f("ck_keyring_purpose")),
        sa.CheckConstraint(
            "state IN ('pending', 'primary', 'decrypt_only', 'disabled')", name=op.f("ck_keyring_state")
        ),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_keyring")),
    )
    with op.batch_alter_table("keyring", schema=None) as batch_op:
        batch_op.create_index(
            "uq_keyring_primary",
            ["purpose"],
            unique=True,
            sqlite_where=sa.text("state = 'primary'"),
            postgresql_where=sa.text("state = 'primary'"),
        )

    op.create_table(
        "orphaned_tokens",
        sa.Column("attempt_id", sa.String(), nullable=False),
        sa.Column("connection_id", sa.String(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("attempt_id", name=op.f("pk_orphaned_tokens")),
    )
    with op.batch_alter_table("orphaned_tokens", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_orphaned_tokens_connection_id"), ["connection_id"], unique=False)

    op.create_table(
        "provider_states",
        sa.Column("provider", sa.String(), nullable=False),
        sa.Column("retry_not_before", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("provider", name=op.f("pk_provider_states")),
    )
    op.create_table(
        "providers",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("definition", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_providers")),
    )
    op.create_table(
        "tenants",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("parent_id", sa.String(), nullable=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("return_urls", sa.Text(), server_default="[]", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("(id = 'platform') = (parent_id IS NULL)", name=op.f("ck_tenants_one_root")),
        sa.CheckConstraint("id <> parent_id", name=op.f("ck_tenants_not_its_own_parent")),
        sa.ForeignKeyConstraint(["parent_id"], ["tenants.id"], name=op.f("fk_tenants_parent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenants")),
    )
    with op.batch_alter_table("tenants", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_tenants_parent_id"), ["parent_id"], unique=False)

    op.create_table(
        "callers",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("key_digest", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("providers", sa.Text(), nullable=True),
        sa.Column("names", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_callers_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_callers")),
    )
    op.create_table(
        "clients",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("provider", sa.String(), nullable=False),
        sa.Column("client_id", sa.String(), nullable=False),
        sa.Column("current", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("rejected_at", sa.BigInteger(), nullable=True),
        sa.Column("retry_not_before", sa.BigInteger(), nullable=True),
        sa.Column("generation", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('active', 'rejected')", name=op.f("ck_clients_state")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_clients_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clients")),
        sa.UniqueConstraint(
            "tenant_id", "provider", "client_id", name=op.f("uq_clients_tenant_id_provider_client_id")
        ),
    )
    with op.batch_alter_table("clients", schema=None) as batch_op:
        batch_op.create_index(
            "uq_clients_current",
            ["tenant_id", "provider"],
            unique=True,
            sqlite_where=sa.text("current"),
            postgresql_where=sa.text("current"),
        )

    op.create_table(
        "keyring_wraps",
        sa.Column("key_id", sa.BigInteger(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("kdf", sa.String(), nullable=False),
        sa.Column("kdf_params", sa.Text(), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["key_id"], ["keyring.key_id"], name=op.f("fk_keyring_wraps_key_id")),
        sa.PrimaryKeyConstraint("key_id", "slot", name=op.f("pk_keyring_wraps")),
    )
    op.create_table(
        "sealed_values",
        sa.Column("owner_kind", sa.String(), nullable=False),
        sa.Column("owner_id", sa.String(), nullable=False),
        sa.Column("field", sa.String(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("format", sa.Integer(), nullable=False),
        sa.Column("key_id", sa.BigInteger(), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("iv", sa.LargeBinary(), nullable=False),
        sa.Column("commitment", sa.LargeBinary(), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["key_id"], ["keyring.key_id"], name=op.f("fk_sealed_values_key_id")),
        sa.PrimaryKeyConstraint("owner_kind", "owner_id", "field", name=op.f("pk_sealed_values")),
    )
    with op.batch_alter_table("sealed_values", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_sealed_values_key_id"), ["key_id"], unique=False)

    op.create_table(
        "connections",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("provider", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("client", sa.String(), nullable=True),
        sa.Column("account", sa.String(), nullable=True),
        sa.Column("account_label", sa.String(), nullable=True),
        sa.Column("scopes", sa.Text(), server_default="[]", nullable=False),
        sa.Column("asked_scopes", sa.Text(), server_default="[]", nullable=False),
        sa.Column("metadata", sa.Text(), server_default="{}", nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["client"], ["clients.id"], name=op.f("fk_connections_client")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_connections_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_connections")),
    )
    with op.batch_alter_table("connections", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_connections_client"), ["client"], unique=False)
        batch_op.create_index(
            "uq_connections_living",
            ["tenant_id", "provider", "name"],
            unique=True,
            sqlite_where=sa.text("deleted_at IS NULL"),
            postgresql_where=sa.text("deleted_at IS NULL"),
        )

    op.create_table(
        "tickets",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("connection_id", sa.String(), nullable=False),
        sa.Column("scopes", sa.Text(), server_default="[]", nullable=False),
        sa.Column("return_url", sa.String(), nullable=True),
        sa.Column("replace_account", sa.Boolean(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("succeeded_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["connection_id"], ["connections.id"], name=op.f("fk_tickets_connection_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tickets")),
    )
    with op.batch_alter_table("tickets", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_tickets_connection_id"), ["connection_id"], unique=False)

    op.create_table(
        "token_states",
        sa.Column("connection_id", sa.String(), nullable=False),
        sa.Column("provider", sa.String(), nullable=False),
        sa.Column("client", sa.String(), nullable=True),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("granted_generation", sa.BigInteger(), nullable=False),
        sa.Column("renewal", sa.String(), nullable=False),
        sa.Column("access_expires_at", sa.BigInteger(), nullable=True),
        sa.Column("issued_lifetime", sa.BigInteger(), nullable=True),
        sa.Column("refresh_expires_at", sa.BigInteger(), nullable=True),
        sa.Column("refreshed_at", sa.BigInteger(), nullable=True),
        sa.Column("verified_at", sa.BigInteger(), nullable=True),
        sa.Column("next_refresh_at", sa.BigInteger(), nullable=True),
        sa.Column("last_asked_at", sa.BigInteger(), nullable=True),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("first_failed_at", sa.BigInteger(), nullable=True),
        sa.Column("last_error_code", sa.String(), nullable=True),
        sa.Column("retry_not_before", sa.BigInteger(), nullable=True),
        sa.Column("retry_dictated", sa.Boolean(), server_default=sa.text("(false)"), nullable=False),
        sa.Column("lease_holder", sa.String(), nullable=True),
        sa.Column("lease_expires_at", sa.BigInteger(), nullable=True),
        sa.Column("lease_fence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("attempt_id", sa.String(), nullable=True),
        sa.Column("inflight_generation", sa.BigInteger(), nullable=True),
        sa.Column("retake_after", sa.BigInteger(), nullable=True),
        sa.Column("uncertain", sa.Boolean(), server_default=sa.text("(false)"), nullable=False),
        sa.Column("last_success_attempt", sa.String(), nullable=True),
        sa.CheckConstraint("renewal IN ('refresh_token', 'none')", name=op.f("ck_token_states_renewal")),
        sa.CheckConstraint(
            "status IN ('unconfigured', 'configured', 'verified', 'degraded', 'failed')",
            name=op.f("ck_token_states_status"),
        ),
        sa.CheckConstraint(
            "(lease_holder IS NULL) = (lease_expires_at IS NULL)", name=op.f("ck_token_states_whole_lease")
        ),
        sa.CheckConstraint("granted_generation <= generation", name=op.f("ck_token_states_granted_before_now")),
        sa.CheckConstraint(
            "inflight_generation IS NULL OR retake_after IS NOT NULL",
            name=op.f("ck_token_states_intent_has_an_end"),
        ),
        sa.ForeignKeyConstraint(
            ["connection_id"], ["connections.id"], name=op.f("fk_token_states_connection_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("connection_id", name=op.f("pk_token_states")),
    )
    with op.batch_alter_table("token_states", schema=None) as batch_op:
        batch_op.create_index(
            "ix_token_states_due",
            ["provider", "next_refresh_at"],
            unique=False,
            sqlite_where=sa.text("next_refresh_at IS NOT NULL"),
            postgresql_where=sa.text("next_refresh_at IS NOT NULL"),
        )

    op.create_table(
        "pending_authorizations",
        sa.Column("state_digest", sa.LargeBinary(), nullable=False),
        sa.Column("browser_digest", sa.LargeBinary(), nullable=False),
        sa.Column("ticket_id", sa.String(), nullable=False),
        sa.Column("provider", sa.String(), nullable=False),
        sa.Column("client", sa.String(), nullable=False),
        sa.Column("redirect_uri", sa.String(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["client"], ["clients.id"], name=op.f("fk_pending_authorizations_client")),
        sa.ForeignKeyConstraint(
            ["ticket_id"], ["tickets.id"], name=op.f("fk_pending_authorizations_ticket_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("state_digest", name=op.f("pk_pending_authorizations")),
    )
    with op.batch_alter_table("pending_authorizations", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_pending_authorizations_expires_at"), ["expires_at"], unique=False)

    op.execute("INSERT INTO tenants (id, name, created_at) VALUES ('platform', 'Platform', 0)")


def downgrade() -> None:
    with op.batch_alter_table("pending_authorizations", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_pending_authorizations_expires_at"))

    op.drop_table("pending_authorizations")
    with op.batch_alter_table("token_states", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_token_states_due",
            sqlite_where=sa.text("next_refresh_at IS NOT NULL"),
            postgresql_where=sa.text("next_refresh_at IS NOT NULL"),
        )

    op.drop_table("token_states")
    with op.batch_alter_table("tickets", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_tickets_connection_id"))

    op.drop_table("tickets")
    with op.batch_alter_table("connections", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_connections_living",
            sqlite_where=sa.text("deleted_at IS NULL"),
            postgresql_where=sa.text("deleted_at IS NULL"),
        )
        batch_op.drop_index(batch_op.f("ix_connections_client"))

    op.drop_table("connections")
    with op.batch_alter_table("sealed_values", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_sealed_values_key_id"))

    op.drop_table("sealed_values")
    op.drop_table("keyring_wraps")
    with op.batch_alter_table("clients", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_clients_current", sqlite_where=sa.text("current"), postgresql_where=sa.text("current")
        )

    op.drop_table("clients")
    op.drop_table("callers")
    with op.batch_alter_table("tenants", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_tenants_parent_id"))

    op.drop_table("tenants")
    op.drop_table("providers")
    op.drop_table("provider_states")
    with op.batch_alter_table("orphaned_tokens", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_orphaned_tokens_connection_id"))

    op.drop_table("orphaned_tokens")
    with op.batch_alter_table("keyring", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_keyring_primary",
            sqlite_where=sa.text("state = 'primary'"),
            postgresql_where=sa.text("state = 'primary'"),
        )

    op.drop_table("keyring")
    op.drop_table("instance")
    op.drop_table("audit_events")
