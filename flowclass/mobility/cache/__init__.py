"""The binding cache: its nodes, one for each home address, its events, and the export of its state as octets."""
