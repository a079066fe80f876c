"""Whose usage it is, where a tenant was deleted and another one of its id was made.

Up: adds two columns to `usage_daily`, at once however many rows there are. The figures that are there stay, and
stay the tenant's that was there at the end of their day, as they were so far.
Down: drops them again. The figures stay; which of them were of a tenant before is lost.

A migration must not break the version that runs while it is applied: add first, remove a release later. So the
key stays as it is: the former version adds to a figure by it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("usage_daily", sa.Column("since", sa.BigInteger(), nullable=True))
    op.add_column("usage_daily", sa.Column("former", sa.BigInteger(), server_default="0", nullable=False))


def downgrade() -> None:
    for column in ("former", "since"):
        op.drop_column("usage_daily", column)
