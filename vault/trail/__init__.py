"""What was written down, afterwards: reading it, checking it, counting from it, and clearing it away."""
