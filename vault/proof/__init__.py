"""Whether what is stored works: asking its provider, and what follows from the answer."""
