"""What is bound to each home address: nodes, the cache that holds them, its events, and its state as octets."""
