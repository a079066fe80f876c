"""
A strict OAuth authorization server to test against: its own process, a real socket, real consumption.

It shares no code with the vault. What it did is in its ledger, which is on disk before any answer leaves,
so the ledger and not the vault says what happened.
"""
