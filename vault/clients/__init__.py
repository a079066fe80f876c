"""Registrations at providers, and calling a provider as one of them."""
