"""Root keys: their lives, and what is done with what they seal."""
