"""Credentials that people enter: read, completed, tried, and shown no more than they may be."""
