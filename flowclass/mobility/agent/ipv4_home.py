"""IPv4 home addresses beside the IPv6 one (RFC 5555 section 4.5): the same bindings and flows serve both."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address

from flowclass.wire.numbers import IPv4Status
from flowclass.wire.options import IPv4AddressAcknowledgement, IPv4HomeAddress

from ..addresses import Prefix, is_routable
from ..cache.node import Node
from .policy import Policy
from .received_update import Update

__all__ = ["register_ipv4"]

_ANY = bytes(4)


def register_ipv4(
    node: Node,
    update: Update,
    policy: Policy,
    owners: Mapping[Prefix, bytes],
) -> tuple[IPv4AddressAcknowledgement, ...]:
    """Give the node the addresses that an accepted update asks for, and no others; one answer per option.

    An address is the node's when the policy's ``ipv4_homes`` say so, or when they have nothing for the node and nobody
    else has it. ``allocate_ipv4`` serves requests for any address; what it once gave stays with the node. Prefixes
    aren't delegated (133). Configured addresses remain without being asked for.
    """
    own = policy.ipv4_homes.get(node.home)
    if own is None and not update.ipv4_homes:
        node.also = ()
        return ()
    addresses = {} if own is None else {own: None}
    answers = []
    for option in update.ipv4_homes:
        status, address = _judge(node, option, policy, owners, own)
        if status == IPv4Status.SUCCESS:
            addresses[address] = None
        answers.append(
            IPv4AddressAcknowledgement(IPv4Address(address), status, 32 if status == IPv4Status.SUCCESS else 0)
        )  # fmt: skip
    node.also = tuple(addresses)
    return tuple(answers)


def _judge(
    node: Node,
    option: IPv4HomeAddress,
    policy: Policy,
    owners: Mapping[Prefix, bytes],
    own: bytes | None,
) -> tuple[int, bytes]:
    address = option.address.packed
    if option.prefix_length == 0:
        return IPv4Status.UNSPECIFIED, address  # RFC 5555 section 3.1.1: an error, whose code isn't said
    if option.request_prefix:
        return IPv4Status.NO_PREFIX, address
    if address == _ANY:
        found = own or next(iter(node.also), None) or _allocate(policy, node.home)
        return (IPv4Status.NO_DYNAMIC_ADDRESS, address) if found is None else (IPv4Status.SUCCESS, found)
    if not is_routable(address):
        return IPv4Status.INVALID_ADDRESS, address
    if option.prefix_length != 32:
        return IPv4Status.NO_PREFIX, address
    if (own is not None and own != address) or owners.get((address, 32), node.home) != node.home:
        return IPv4Status.INCORRECT_ADDRESS, address
    return IPv4Status.SUCCESS, address


def _allocate(policy: Policy, home: bytes) -> bytes | None:
    return None if policy.allocate_ipv4 is None else policy.allocate_ipv4(home)
