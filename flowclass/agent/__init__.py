"""Live agents for Linux: a home agent that forwards, and a mobile node for laboratories and tests.

They use what every embedder has: `flowclass.HomeAgent`, `flowclass.MobileNode`, `flowclass.ForwardingTable`. Here is
what a process adds to these: devices, sockets, a durable store, authentication, an operator's view.
"""
