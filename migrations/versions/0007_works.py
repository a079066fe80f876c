"""Works at a provider: what is to be done with a connection's credentials, and when.

Up: adds a table, empty. A rotation that a connection's settings ask for already is due from when they are next
edited.
Down: drops it. What was begun and not ended stays where it is, with what it has kept sealed beside the credentials.

A migration must not break the version that runs while it is applied: the former one knows nothing of it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "works",
        sa.Column("connection_id", sa.String(), nullable=False),
        sa.Column("ability", sa.String(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("begun", sa.Boolean(), nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["connection_id"],
            ["connections.id"],
            name="fk_works_connection_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("connection_id", name="pk_works"),
    )
    op.create_index("ix_works_due_at", "works", ["due_at"])


def downgrade() -> None:
    op.drop_index("ix_works_due_at", "works")
    op.drop_table("works")
