"""IPv4 home addresses in addition to the IPv6 one (RFC 5555 section 4.5); all share the same bindings and flows."""

from __future__ import annotations

from ipaddress import IPv4Address

from flowclass.addresses import as_packed
from flowclass.wire.numbers import IPv4Status
from flowclass.wire.options import IPv4AddressAcknowledgement, IPv4HomeAddress

from ..addresses import is_routable
from ..cache.node import Node
from ..cache.owners import Owners
from .policy import Policy
from .received_update import Update

__all__ = ["register_ipv4"]

_ANY = bytes(4)


def register_ipv4(
    node: Node,
    update: Update,
    policy: Policy,
    owners: Owners,
) -> tuple[IPv4AddressAcknowledgement, ...]:
    """Set the IPv4 home addresses of a node to those that an accepted update requests; return one answer per option.

    A node may have the address that the policy's ``ipv4_homes`` has for it. A node that isn't in there may have one
    that ``allocate_ipv4`` returns, and keeps it. A request for any other address, or for that of another node, is
    refused with status 130. Prefixes are not delegated (133). A configured address stays even if it isn't requested.
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
    owners: Owners,
    own: bytes | None,
) -> tuple[int, bytes]:
    address = option.address.packed
    if option.prefix_length == 0:
        return IPv4Status.UNSPECIFIED, address  # RFC 5555 section 3.1.1: this is an error, but has no status of its own
    if option.request_prefix:
        return IPv4Status.NO_PREFIX, address
    if address == _ANY:
        found = own or next(iter(node.also), None) or _allocate(policy, node.home)
        if found is None or owners.in_the_way((found, 32), node.home):
            return IPv4Status.NO_DYNAMIC_ADDRESS, address
        return IPv4Status.SUCCESS, found
    if not is_routable(address):
        return IPv4Status.INVALID_ADDRESS, address
    if option.prefix_length != 32:
        return IPv4Status.NO_PREFIX, address
    if owners.in_the_way((address, 32), node.home):
        return IPv4Status.INCORRECT_ADDRESS, address
    mine = address == own if own is not None else address in node.also or address == _allocate(policy, node.home)
    return (IPv4Status.SUCCESS if mine else IPv4Status.INCORRECT_ADDRESS), address


def _allocate(policy: Policy, home: bytes) -> bytes | None:
    if policy.allocate_ipv4 is None:
        return None
    address = policy.allocate_ipv4(home)
    return None if address is None else as_packed("allocate_ipv4: its result", address, 4)
