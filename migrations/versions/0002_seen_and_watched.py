"""What the cache, the chained audit, the gates and the sign-in remember.

Up: adds columns and tables. Three indexes on `token_states` and one on `audit_events` are built, during
which PostgreSQL takes no writes to those tables: seconds a million rows. Records of the audit that are
there already stay outside the chain.
Down: drops them. The chain, its checkpoints and what was learned or paused are lost; no secret is.

A migration must not break the version that runs while it is applied: add first, remove a release later.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_DUE, _DUE_UNPARKED = "next_refresh_at IS NOT NULL", "next_refresh_at IS NOT NULL AND parked IS NULL"


def upgrade() -> None:
    # Column by column, constraints with them: SQLite can add those without copying a table that others refer to.
    for table in ("tenants", "clients", "provider_states"):
        op.add_column(table, sa.Column("paused_at", sa.BigInteger(), nullable=True))
    op.add_column("provider_states", sa.Column("trips", sa.Integer(), server_default="0", nullable=False))
    op.execute(
        "ALTER TABLE provider_states ADD COLUMN breaker VARCHAR DEFAULT 'closed' NOT NULL"
        " CONSTRAINT ck_provider_states_breaker CHECK (breaker IN ('closed', 'open'))"
    )
    for column in ("rejected_generation", "rejected_age", "learned_lifetime"):
        op.add_column("token_states", sa.Column(column, sa.BigInteger(), nullable=True))
    op.execute(
        "ALTER TABLE token_states ADD COLUMN parked VARCHAR"
        " CONSTRAINT ck_token_states_parked CHECK (parked IN ('rejected', 'paused'))"
    )
    op.drop_index("ix_token_states_due", "token_states")
    _create_due(_DUE_UNPARKED)
    op.create_index("ix_token_states_client", "token_states", ["client"])
    rejected = sa.text("parked = 'rejected'")
    op.create_index(
        "ix_token_states_rejected",
        "token_states",
        ["client", "next_refresh_at"],
        sqlite_where=rejected,
        postgresql_where=rejected,
    )
    op.create_table(
        "unsettled_gates",
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.CheckConstraint("kind IN ('client', 'tenant')", name=op.f("ck_unsettled_gates_kind")),
        sa.PrimaryKeyConstraint("kind", "key", name=op.f("pk_unsettled_gates")),
    )
    op.execute(
        "UPDATE token_states SET parked = 'rejected'"
        " WHERE client IN (SELECT id FROM clients WHERE state = 'rejected')"
    )
    op.execute(
        "UPDATE token_states SET parked = 'paused'"
        " WHERE connection_id IN (SELECT id FROM connections WHERE NOT enabled)"
    )
    op.add_column("audit_events", sa.Column("mac", sa.LargeBinary(), nullable=True))
    op.create_index("ix_audit_events_at", "audit_events", ["at"])
    op.create_table(
        "audit_streams",
        sa.Column("stream", sa.String(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("links", sa.Text(), nullable=False),
        sa.Column("base_seq", sa.BigInteger(), nullable=False),
        sa.Column("base_mac", sa.LargeBinary(), nullable=False),
        sa.Column("base_signature", sa.LargeBinary(), nullable=False),
        sa.Column("head_seq", sa.BigInteger(), nullable=False),
        sa.Column("head_mac", sa.LargeBinary(), nullable=False),
        sa.Column("head_at", sa.BigInteger(), nullable=False),
        sa.Column("head_signature", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("base_seq <= head_seq", name=op.f("ck_audit_streams_base_before_head")),
        sa.PrimaryKeyConstraint("stream", name=op.f("pk_audit_streams")),
    )
    op.create_table(
        "changes",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("kind IN ('connection', 'caller', 'tenant', 'gate')", name=op.f("ck_changes_kind")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_changes")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_changes_at"), "changes", ["at"], unique=False)
    op.create_table(
        "sign_ins",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_sign_ins")),
    )
    op.create_table(
        "sessions",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_sessions")),
    )
    op.create_index(op.f("ix_sessions_expires_at"), "sessions", ["expires_at"], unique=False)


def downgrade() -> None:
    for table in ("sessions", "sign_ins", "changes", "audit_streams", "unsettled_gates"):
        op.drop_table(table)
    op.drop_index("ix_audit_events_at", "audit_events")
    op.drop_column("audit_events", "mac")
    op.drop_index("ix_token_states_rejected", "token_states")
    op.drop_index("ix_token_states_client", "token_states")
    op.drop_index("ix_token_states_due", "token_states")
    for column in ("parked", "learned_lifetime", "rejected_age", "rejected_generation"):
        op.drop_column("token_states", column)
    _create_due(_DUE)
    for column in ("breaker", "trips"):
        op.drop_column("provider_states", column)
    for table in ("provider_states", "clients", "tenants"):
        op.drop_column(table, "paused_at")


def _create_due(where: str) -> None:
    op.create_index(
        "ix_token_states_due",
        "token_states",
        ["provider", "next_refresh_at"],
        sqlite_where=sa.text(where),
        postgresql_where=sa.text(where),
    )
