"""Google: OAuth with its own words for what went wrong, and service accounts."""
