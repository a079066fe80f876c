"""What credentials that never change have beside their secret: how they look, who entered them, when to try them.

Up: adds columns, all of them empty, and two partial indexes, which locks the two tables for as long as it takes
to read them once. What was entered before shows no fields until it is entered anew.
Down: drops them again. What was entered stays, and still works; nobody sees any more what it was.

A migration must not break the version that runs while it is applied: the former one leaves all of it empty.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_CONNECTIONS = ("shown", "changed_by", "changed_at")
_STATES = ("next_check_at", "checked_at", "lacks")
_INDEXES = (
    ("ix_token_states_to_check", "token_states", ["next_check_at"], "next_check_at IS NOT NULL"),
    ("ix_connections_buried", "connections", ["deleted_at"], "deleted_at IS NOT NULL"),
)


def upgrade() -> None:
    op.add_column("connections", sa.Column("shown", sa.Text(), nullable=True))
    op.add_column("connections", sa.Column("changed_by", sa.String(), nullable=True))
    op.add_column("connections", sa.Column("changed_at", sa.BigInteger(), nullable=True))
    op.add_column("token_states", sa.Column("next_check_at", sa.BigInteger(), nullable=True))
    op.add_column("token_states", sa.Column("checked_at", sa.BigInteger(), nullable=True))
    op.add_column("token_states", sa.Column("lacks", sa.Text(), nullable=True))
    for name, table, columns, where in _INDEXES:
        op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def downgrade() -> None:
    for name, table, *_ in reversed(_INDEXES):
        op.drop_index(name, table)
    for column in reversed(_STATES):
        op.drop_column("token_states", column)
    for column in reversed(_CONNECTIONS):
        op.drop_column("connections", column)
