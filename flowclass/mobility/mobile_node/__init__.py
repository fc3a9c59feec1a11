"""Whoever sends binding updates: the mobile node and its binding update lists."""
