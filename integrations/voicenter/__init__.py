"""Voicenter: its organisation codes, its tokens, and both of its login stacks."""
