"""What inheritance, registrations with settings, renewals other than by refresh token, and usage need.

Up: adds columns and two tables, and allows every renewal that the design knows. For that SQLite copies
`token_states`; PostgreSQL looks through it once, during which it takes no writes to it: seconds a million rows.
Down: drops them again. Lost are the figures of usage, which connections are shared or prefer what they
inherit, and how clients authenticate, with their private keys and former secrets. It refuses while a connection is renewed in a way that the former version does not know.

A migration must not break the version that runs while it is applied: add first, remove a release later.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_RENEWALS = "'refresh_token', 'client_credentials', 'jwt_bearer', 'self_exchange', 'login_refresh', 'none'"

_OF_CLIENTS: dict[str, sa.types.TypeEngine[Any]] = {
    "secret_since": sa.BigInteger(),
    "previous_settings": sa.Text(),
    "previous_since": sa.BigInteger(),
    "paused_by": sa.String(),
}


def upgrade() -> None:
    op.add_column("tenants", sa.Column("inherit", sa.Boolean(), server_default=sa.text("true"), nullable=False))
    for table in ("clients", "connections"):
        op.add_column(table, sa.Column("settings", sa.Text(), server_default="{}", nullable=False))
    op.add_column(
        "connections", sa.Column("shared", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    # With its constraint: SQLite can add that without copying a table that others refer to.
    op.execute(
        "ALTER TABLE connections ADD COLUMN prefer VARCHAR DEFAULT 'own' NOT NULL"
        " CONSTRAINT ck_connections_prefer CHECK (prefer IN ('own', 'inherited'))"
    )
    for column, kind in _OF_CLIENTS.items():
        op.add_column("clients", sa.Column(column, kind, nullable=True))
    op.add_column(
        "clients", sa.Column("previous_first", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    living = sa.text("deleted_at IS NULL")
    op.create_index(
        "ix_connections_account",
        "connections",
        ["provider", "account"],
        sqlite_where=living,
        postgresql_where=living,
    )
    _allow_renewals(_RENEWALS)
    op.add_column("token_states", sa.Column("granted_at", sa.BigInteger(), nullable=True))
    op.create_table(
        "device_authorizations",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("connection_id", sa.String(), nullable=False),
        sa.Column("client", sa.String(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("replace_account", sa.Boolean(), nullable=False),
        sa.Column("interval_seconds", sa.Integer(), nullable=False),
        sa.Column("next_poll_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["client"], ["clients.id"], name=op.f("fk_device_authorizations_client")),
        sa.ForeignKeyConstraint(
            ["connection_id"],
            ["connections.id"],
            name=op.f("fk_device_authorizations_connection_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device_authorizations")),
        sa.UniqueConstraint("connection_id", name=op.f("uq_device_authorizations_connection_id")),
    )
    for column in ("client", "next_poll_at"):
        op.create_index(op.f(f"ix_device_authorizations_{column}"), "device_authorizations", [column])
    _count_usage()


def downgrade() -> None:
    op.drop_table("usage_marks")
    op.drop_table("usage_daily")
    op.drop_table("device_authorizations")
    op.drop_column("token_states", "granted_at")
    _allow_renewals("'refresh_token', 'none'")
    if op.get_bind().dialect.name == "sqlite":
        _bind_the_check_of_parked_to_its_column()
    op.drop_index("ix_connections_account", "connections")
    for column in ("prefer", "shared", "settings"):
        op.drop_column("connections", column)
    # Their values are sealed with names that the former version does not know.
    op.execute("DELETE FROM sealed_values WHERE owner_kind = 'client' AND field <> 'client_secret'")
    for column in ("previous_first", *_OF_CLIENTS, "settings"):
        op.drop_column("clients", column)
    op.drop_column("tenants", "inherit")


def _count_usage() -> None:
    """Without a mark, what the audit holds by now is counted from its beginning."""
    op.create_table(
        "usage_daily",
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        *(sa.Column(name, sa.String(), nullable=False) for name in ("tenant", "provider", "name", "source")),
        sa.Column("handed_out", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day", "tenant", "provider", "name", "source", name=op.f("pk_usage_daily")),
    )
    op.create_table(
        "usage_marks",
        sa.Column("stream", sa.String(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("stream", name=op.f("pk_usage_marks")),
    )


def _allow_renewals(renewals: str) -> None:
    with op.batch_alter_table("token_states") as batch:
        batch.drop_constraint(op.f("ck_token_states_renewal"), type_="check")
        batch.create_check_constraint(op.f("ck_token_states_renewal"), sa.text(f"renewal IN ({renewals})"))


def _bind_the_check_of_parked_to_its_column() -> None:
    """Put the constraint back where 0002 had it: copying made it the table's, and SQLite drops no column of one."""
    with op.batch_alter_table("token_states") as batch:
        batch.drop_constraint(op.f("ck_token_states_parked"), type_="check")
    for index in ("ix_token_states_due", "ix_token_states_rejected"):
        op.drop_index(index, "token_states")
    op.execute("ALTER TABLE token_states RENAME COLUMN parked TO was_parked")
    op.execute(
        "ALTER TABLE token_states ADD COLUMN parked VARCHAR"
        " CONSTRAINT ck_token_states_parked CHECK (parked IN ('rejected', 'paused'))"
    )
    op.execute("UPDATE token_states SET parked = was_parked")
    op.drop_column("token_states", "was_parked")
    due, rejected = sa.text("next_refresh_at IS NOT NULL AND parked IS NULL"), sa.text("parked = 'rejected'")
    op.create_index("ix_token_states_due", "token_states", ["provider", "next_refresh_at"], sqlite_where=due)
    op.create_index(
        "ix_token_states_rejected", "token_states", ["client", "next_refresh_at"], sqlite_where=rejected
    )
