"""Whoever receives binding updates: home agents, mobility anchor points and correspondent nodes."""
