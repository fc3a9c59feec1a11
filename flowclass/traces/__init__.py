"""Captures: reading, classifying, replaying, and what comes out of it."""
