"""One strict fake a vendor, on a socket, and what each vendor's answers mean."""
