"""The classifier engine: rules and keys as arrays, the compiled tables, and the forwarding table."""
