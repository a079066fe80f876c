"""What `tokenvault` does, a command or a family of them a file."""
