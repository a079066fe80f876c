"""One exchange with a provider for new tokens, and what follows from its outcome."""
