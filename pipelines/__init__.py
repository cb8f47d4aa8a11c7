"""Applications that are built on reactor, and on nothing of it but its public names."""
