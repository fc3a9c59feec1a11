"""Live agents for Linux: a home agent that forwards, and a mobile node for laboratories and tests.

They use the classes that other programs can embed, too: `flowclass.HomeAgent`, `flowclass.MobileNode` and
`flowclass.ForwardingTable`. This package adds devices, sockets, a durable store, authentication, and commands for the
operator.
"""
