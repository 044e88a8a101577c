"""What surrounds every method. Applied to its handler once, at registration, so a call pays for no chain of them."""
