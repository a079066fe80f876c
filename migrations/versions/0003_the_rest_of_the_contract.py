"""What inheritance, registrations with settings, and renewals other than by refresh token need.

Up: adds columns, and allows every renewal that the design knows. For that SQLite copies `token_states`;
PostgreSQL looks through it once, during which it takes no writes to it: seconds a million rows.
Down: drops them again. Which connections are shared or prefer what they inherit is lost, and how clients
authenticate, with their private keys and former secrets. It refuses while a connection is renewed in a way
that the former version does not know.

A migration must not break the version that runs while it is applied: add first, remove a release later.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_RENEWALS = "'refresh_token', 'client_credentials', 'jwt_bearer', 'self_exchange', 'login_refresh', 'none'"

_OF_CLIENTS = {
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
    _allow_renewals(_RENEWALS)


def downgrade() -> None:
    _allow_renewals("'refresh_token', 'none'")
    if op.get_bind().dialect.name == "sqlite":
        _bind_the_check_of_parked_to_its_column()
    for column in ("prefer", "shared", "settings"):
        op.drop_column("connections", column)
    # Their values are sealed with names that the former version does not know.
    op.execute("DELETE FROM sealed_values WHERE owner_kind = 'client' AND field <> 'client_secret'")
    for column in ("previous_first", *_OF_CLIENTS, "settings"):
        op.drop_column("clients", column)
    op.drop_column("tenants", "inherit")


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
