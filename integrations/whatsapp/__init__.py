"""WhatsApp, which is Meta's Graph API: its tokens and how it refuses."""
