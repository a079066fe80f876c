"""When what people enter was tried at its provider, so that replicas count together.

Up: adds a table, empty. Down: drops it: what was tried in the last minute counts no more.

A migration must not break the version that runs while it is applied: the former one goes on counting by itself.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tries",
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("slot", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("tried_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("path", "slot", name="pk_tries"),
    )


def downgrade() -> None:
    op.drop_table("tries")
