"""Works: what takes a provider several calls, with something to be kept in between."""
