"""Remembers which revocations at providers are under way, so that none is lost with the process that asked.

Up: adds a column. Down: drops it; that a process died over a revocation is then not noticed.

A migration must not break the version that runs while it is applied: add first, remove a release later.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "connections", sa.Column("revoking", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )


def downgrade() -> None:
    op.drop_column("connections", "revoking")
