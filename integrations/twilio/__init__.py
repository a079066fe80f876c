"""Twilio: its kinds, its API, its rotations and its SIP trunks."""
