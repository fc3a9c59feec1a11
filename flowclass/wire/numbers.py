"""The numbers of the protocol: every message and option type, flag, status code, unit and timer, defined here once.

Numbers that differ between the draft and RFC 6089 (option types of flow options, layouts, which meaning has which flow
status) are chosen in profiles.py. Code on the path of each binding update takes plain integers from here by name
(``_OVERWRITE: Final = UpdateFlag.OVERWRITE.value``): an ``&`` with an enumeration's member makes a new member, which
costs 0.6 us where two integers take 0.03.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

__all__ = [
    "BINDING_STATUS",
    "DRAFT_FLOW_STATUS",
    "HOME_ADDRESS_OPTION",
    "INITIAL_BINDACK_TIMEOUT",
    "INITIAL_BINDACK_TIMEOUT_FIRST_REG",
    "LIFETIME_UNIT",
    "MAX_BID_PRIORITY",
    "MAX_BINDACK_TIMEOUT",
    "MAX_DELETE_BCE_TIMEOUT",
    "MAX_MOBILITY_HEADER",
    "MAX_NONCE_LIFETIME",
    "MAX_RR_BINDING_LIFETIME",
    "MAX_TOKEN_LIFETIME",
    "MAX_UPDATE_RATE",
    "MOBILITY_HEADER",
    "NAT_KEEPALIVE_TIMEOUT",
    "REFUSED",
    "RFC6089_FLOW_STATUS",
    "TYPE_2_ROUTING",
    "AcknowledgementFlag",
    "Action",
    "BindingErrorStatus",
    "BindingStatus",
    "DraftFlowStatus",
    "IPv4Status",
    "MessageType",
    "OptionType",
    "Protocol",
    "Request",
    "RevocationFlag",
    "RevocationStatus",
    "RevocationTrigger",
    "RevocationType",
    "Rfc6089FlowStatus",
    "SelectorFormat",
    "UpdateFlag",
    "not_greater",
]


class Protocol(IntEnum):
    """IP protocol and next header numbers (IANA registry)."""

    HOP_BY_HOP = 0
    ICMP = 1
    TCP = 6
    UDP = 17
    DCCP = 33
    ROUTING = 43
    FRAGMENT = 44
    GRE = 47
    ESP = 50
    AH = 51
    ICMPV6 = 58
    NO_NEXT_HEADER = 59
    DESTINATION_OPTIONS = 60
    SCTP = 132
    MOBILITY_HEADER = 135
    UDPLITE = 136


MOBILITY_HEADER: Final = Protocol.MOBILITY_HEADER.value
"""The next header number of the Mobility Header (RFC 6275 6.1.1)."""

MAX_MOBILITY_HEADER: Final = 2048
"""Octets of the longest Mobility Header: its length field counts 255 units of 8 octets after the first."""

HOME_ADDRESS_OPTION: Final = 0xC9
"""The type of the Home Address destination option (RFC 6275 6.3)."""

DSMIPV6_PORT: Final = 4191
"""The UDP port of IPv6 packets in UDP (RFC 5555 5)."""

TYPE_2_ROUTING: Final = 2
"""The type of the routing header that carries a home address (RFC 6275 6.4)."""


class MessageType(IntEnum):
    """The MH Type field (RFC 6275 6.1.2 to 6.1.9, RFC 5846)."""

    BINDING_REFRESH_REQUEST = 0
    HOME_TEST_INIT = 1
    CARE_OF_TEST_INIT = 2
    HOME_TEST = 3
    CARE_OF_TEST = 4
    BINDING_UPDATE = 5
    BINDING_ACKNOWLEDGEMENT = 6
    BINDING_ERROR = 7
    BINDING_REVOCATION = 16  # RFC 5846 5


class OptionType(IntEnum):
    """Mobility option types that are the same in every profile; the types of flow options are a profile's."""

    PAD1 = 0  # RFC 6275 6.2.2
    PADN = 1  # 6.2.3
    BINDING_REFRESH_ADVICE = 2  # 6.2.4
    ALTERNATE_CARE_OF = 3  # 6.2.5
    NONCE_INDICES = 4  # 6.2.6
    BINDING_AUTHORIZATION_DATA = 5  # 6.2.7
    MOBILE_NETWORK_PREFIX = 6  # RFC 3963 4.3
    MOBILE_NODE_IDENTIFIER = 8  # RFC 4283 3
    MESSAGE_AUTHENTICATION = 9  # RFC 4285 5
    REPLAY_PROTECTION = 10  # RFC 4285 6
    IPV4_HOME_ADDRESS = 29  # RFC 5555 3.1.1
    IPV4_ADDRESS_ACKNOWLEDGEMENT = 30  # RFC 5555 3.2.1
    NAT_DETECTION = 31  # RFC 5555 3.2.2
    IPV4_CARE_OF_ADDRESS = 32  # RFC 5555 3.1.2
    BINDING_IDENTIFIER = 35  # RFC 5648 4.3


class SelectorFormat(IntEnum):
    """The TS Format field of a traffic selector (RFC 6088 section 2)."""

    IPV4 = 1
    IPV6 = 2


class UpdateFlag(IntFlag):
    """Flags of a binding update. 0x0040 is RFC 5648's O unless P is set, then RFC 6602's B (K36)."""

    ACKNOWLEDGE = 0x8000
    HOME_REGISTRATION = 0x4000
    LINK_LOCAL = 0x2000
    KEY_MANAGEMENT = 0x1000
    MAP_REGISTRATION = 0x0800
    MOBILE_ROUTER = 0x0400
    PROXY_REGISTRATION = 0x0200
    FORCE_UDP = 0x0100
    TLV_HEADER = 0x0080
    OVERWRITE = 0x0040
    SUBSCRIPTION = 0x0020
    DNS_UPDATE = 0x0010


class AcknowledgementFlag(IntFlag):
    """Flags of a binding acknowledgement."""

    KEY_MANAGEMENT = 0x80
    MOBILE_ROUTER = 0x40
    PROXY_REGISTRATION = 0x20
    TLV_HEADER = 0x10
    BULK = 0x08


class Action(IntEnum):
    """What to do with a flow (draft 3.1, R22-R24). RFC 6089 has no such field: forward, to every BID."""

    FORWARD = 1
    DISCARD = 2
    N_CAST = 3


class Request(IntEnum):
    """The PRO field: what a flow identification option asks for (draft 3.1, R21). RFC 6089 has no such field."""

    ADD = 0
    REPLACE = 1
    REFRESH = 2
    REMOVE = 15


# ---- status codes ---------------------------------------------------------------------------------------------------

REFUSED: Final = 128
"""The lowest status that refuses, in binding acknowledgements and in all options of one: lower ones accept."""


class BindingStatus(IntEnum):
    """Status of a binding acknowledgement, and of a binding identifier in one (IANA registry)."""

    ACCEPTED = 0
    PREFIX_DISCOVERY_NECESSARY = 1
    MCOA_NOTCOMPLETE = 4
    MCOA_RETURNHOME_WO_NDP = 5
    UNSPECIFIED = 128
    PROHIBITED = 129
    INSUFFICIENT_RESOURCES = 130
    HOME_REGISTRATION_NOT_SUPPORTED = 131
    NOT_HOME_SUBNET = 132
    NOT_HOME_AGENT = 133
    DUPLICATE_ADDRESS_DETECTION_FAILED = 134
    SEQUENCE_OUT_OF_WINDOW = 135
    EXPIRED_HOME_NONCE = 136
    EXPIRED_CARE_OF_NONCE = 137
    EXPIRED_NONCES = 138
    TYPE_CHANGE_DISALLOWED = 139
    MOBILE_ROUTER_NOT_PERMITTED = 140
    INVALID_PREFIX = 141
    NOT_AUTHORIZED_FOR_PREFIX = 142
    FORWARDING_SETUP_FAILED = 143
    ID_MISMATCH = 144
    MESSAGE_ID_REQUIRED = 145
    AUTHENTICATION_FAILED = 146
    MCOA_MALFORMED = 164
    MCOA_NON_MCOA_BINDING_EXISTS = 165
    MCOA_PROHIBITED = 166
    MCOA_UNKNOWN_COA = 167
    MCOA_BULK_REGISTRATION_PROHIBITED = 168
    MCOA_HOME_AND_FOREIGN_PROHIBITED = 169
    INVALID_CARE_OF_ADDRESS = 174


BINDING_STATUS: Final[dict[int, str]] = {
    BindingStatus.ACCEPTED: "accepted",
    BindingStatus.PREFIX_DISCOVERY_NECESSARY: "accepted but prefix discovery necessary",
    BindingStatus.MCOA_NOTCOMPLETE: "MCOA NOTCOMPLETE",
    BindingStatus.MCOA_RETURNHOME_WO_NDP: "MCOA RETURNHOME WO/NDP",
    BindingStatus.UNSPECIFIED: "reason unspecified",
    BindingStatus.PROHIBITED: "administratively prohibited",
    BindingStatus.INSUFFICIENT_RESOURCES: "insufficient resources",
    BindingStatus.HOME_REGISTRATION_NOT_SUPPORTED: "home registration not supported",
    BindingStatus.NOT_HOME_SUBNET: "not home subnet",
    BindingStatus.NOT_HOME_AGENT: "not home agent for this mobile node",
    BindingStatus.DUPLICATE_ADDRESS_DETECTION_FAILED: "duplicate address detection failed",
    BindingStatus.SEQUENCE_OUT_OF_WINDOW: "sequence number out of window",
    BindingStatus.EXPIRED_HOME_NONCE: "expired home nonce index",
    BindingStatus.EXPIRED_CARE_OF_NONCE: "expired care-of nonce index",
    BindingStatus.EXPIRED_NONCES: "expired nonces",
    BindingStatus.TYPE_CHANGE_DISALLOWED: "registration type change disallowed",
    BindingStatus.MOBILE_ROUTER_NOT_PERMITTED: "mobile router operation not permitted",
    BindingStatus.INVALID_PREFIX: "invalid prefix",
    BindingStatus.NOT_AUTHORIZED_FOR_PREFIX: "not authorized for prefix",
    BindingStatus.FORWARDING_SETUP_FAILED: "forwarding setup failed",
    BindingStatus.ID_MISMATCH: "MIPV6-ID-MISMATCH",
    BindingStatus.MESSAGE_ID_REQUIRED: "MIPV6-MESG-ID-REQD",
    BindingStatus.AUTHENTICATION_FAILED: "MIPV6-AUTH-FAIL",
    BindingStatus.MCOA_MALFORMED: "MCOA MALFORMED",
    BindingStatus.MCOA_NON_MCOA_BINDING_EXISTS: "MCOA NON-MCOA BINDING EXISTS",
    BindingStatus.MCOA_PROHIBITED: "MCOA PROHIBITED",
    BindingStatus.MCOA_UNKNOWN_COA: "MCOA UNKNOWN COA",
    BindingStatus.MCOA_BULK_REGISTRATION_PROHIBITED: "MCOA BULK REGISTRATION PROHIBITED",
    BindingStatus.MCOA_HOME_AND_FOREIGN_PROHIBITED: "MCOA SIMULTANEOUS HOME AND FOREIGN PROHIBITED",
    BindingStatus.INVALID_CARE_OF_ADDRESS: "invalid care-of address",
}
"""What each `BindingStatus` means, as the IANA registry words it."""


class BindingErrorStatus(IntEnum):
    """Status of a binding error (RFC 6275 6.1.9)."""

    UNKNOWN_BINDING = 1
    UNRECOGNIZED_TYPE = 2


class RevocationType(IntEnum):
    """The B.R. Type of a binding revocation message (RFC 5846 5)."""

    INDICATION = 1
    ACKNOWLEDGEMENT = 2


class RevocationFlag(IntFlag):
    """Flags of both binding revocation messages (RFC 5846 5.1, 5.2)."""

    PROXY = 0x8000
    IPV4_HOME_ADDRESS_ONLY = 0x4000
    GLOBAL = 0x2000


class RevocationTrigger(IntEnum):
    """Why a binding is revoked: the R. Trigger of a binding revocation indication (RFC 5846 5.1)."""

    UNSPECIFIED = 0
    ADMINISTRATIVE = 1
    HANDOVER_SAME_ACCESS_TYPE = 2
    HANDOVER_DIFFERENT_ACCESS_TYPE = 3
    HANDOVER_UNKNOWN = 4
    USER_INITIATED = 5
    ACCESS_NETWORK = 6
    POSSIBLY_OUT_OF_SYNC = 7
    PER_PEER_POLICY = 128
    LOCAL_POLICY = 129


class RevocationStatus(IntEnum):
    """Status of a binding revocation acknowledgement (RFC 5846 5.2)."""

    SUCCESS = 0
    PARTIAL_SUCCESS = 1
    NO_BINDING = 128
    IPV4_HOME_ADDRESS_REQUIRED = 129
    GLOBAL_NOT_AUTHORIZED = 130
    IDENTITY_REQUIRED = 131
    NODE_IS_ATTACHED = 132
    TRIGGER_NOT_SUPPORTED = 133
    NOT_SUPPORTED = 134
    PROXY_NOT_SUPPORTED = 135


class IPv4Status(IntEnum):
    """Status of an IPv4 address acknowledgement option (RFC 5555 3.2.1)."""

    SUCCESS = 0
    UNSPECIFIED = 128
    PROHIBITED = 129
    INCORRECT_ADDRESS = 130
    INVALID_ADDRESS = 131
    NO_DYNAMIC_ADDRESS = 132
    NO_PREFIX = 133


class DraftFlowStatus(IntEnum):
    """Status of a flow identification option in the draft (section 3.1)."""

    SUCCESS = 0
    UNSPECIFIED = 128
    MALFORMED = 129
    PROHIBITED = 130
    PREFIX_UNSUPPORTED = 131
    PORTS_UNSUPPORTED = 132
    FLOW_LABEL_UNSUPPORTED = 133
    SPI_UNSUPPORTED = 134
    FID_IN_USE = 135
    FID_NOT_FOUND = 136
    CLASSIFIER_UNSUPPORTED = 137
    DISCARD_UNSUPPORTED = 138
    NCAST_UNSUPPORTED = 139


DRAFT_FLOW_STATUS: Final[dict[int, str]] = {
    DraftFlowStatus.SUCCESS: "flow binding successful",
    DraftFlowStatus.UNSPECIFIED: "rejected, reason unspecified",
    DraftFlowStatus.MALFORMED: "option poorly formed",
    DraftFlowStatus.PROHIBITED: "administratively prohibited",
    DraftFlowStatus.PREFIX_UNSUPPORTED: "flow identification by IPv6 prefix not supported",
    DraftFlowStatus.PORTS_UNSUPPORTED: "flow identification by port numbers not supported",
    DraftFlowStatus.FLOW_LABEL_UNSUPPORTED: "flow identification with flow label not supported",
    DraftFlowStatus.SPI_UNSUPPORTED: "flow identification with SPI not supported",
    DraftFlowStatus.FID_IN_USE: "FID already in use",
    DraftFlowStatus.FID_NOT_FOUND: "FID not found",
    DraftFlowStatus.CLASSIFIER_UNSUPPORTED: "classifier language not supported",
    DraftFlowStatus.DISCARD_UNSUPPORTED: "discard function not supported",
    DraftFlowStatus.NCAST_UNSUPPORTED: "n-cast function not supported",
}


class Rfc6089FlowStatus(IntEnum):
    """Status of a flow identification option in RFC 6089 (section 4.2)."""

    SUCCESS = 0
    PROHIBITED = 128
    UNSPECIFIED = 129
    MALFORMED = 130
    BID_NOT_FOUND = 131
    FID_NOT_FOUND = 132
    SELECTOR_FORMAT_UNSUPPORTED = 133


RFC6089_FLOW_STATUS: Final[dict[int, str]] = {
    Rfc6089FlowStatus.SUCCESS: "flow binding successful",
    Rfc6089FlowStatus.PROHIBITED: "administratively prohibited",
    Rfc6089FlowStatus.UNSPECIFIED: "rejected, reason unspecified",
    Rfc6089FlowStatus.MALFORMED: "option malformed",
    Rfc6089FlowStatus.BID_NOT_FOUND: "BID not found",
    Rfc6089FlowStatus.FID_NOT_FOUND: "FID not found",
    Rfc6089FlowStatus.SELECTOR_FORMAT_UNSUPPORTED: "traffic selector format not supported",
}


# ---- units and timers -----------------------------------------------------------------------------------------------

LIFETIME_UNIT: Final = 4
"""Seconds in one unit of a lifetime or refresh interval (RFC 6275 6.1.7)."""

MAX_BID_PRIORITY: Final = 127
"""The largest BID-PRI: it has seven bits (RFC 6089 4.1, K13)."""

# RFC 6275 sections 12 and 13: seconds, but for the rate

INITIAL_BINDACK_TIMEOUT: Final = 1.0
"""How long to wait for the first acknowledgement of a binding update before it is sent again."""

INITIAL_BINDACK_TIMEOUT_FIRST_REG: Final = 1.5
"""The same for a first registration, which leaves room for duplicate address detection."""

MAX_BINDACK_TIMEOUT: Final = 32.0
"""Where doubling that time ends."""

MAX_UPDATE_RATE: Final = 3
"""Messages of one kind per second that may go to one receiver (RFC 6275 11.8)."""

MAX_TOKEN_LIFETIME: Final = 210.0
"""How long a mobile node uses a keygen token."""

NAT_KEEPALIVE_TIMEOUT: Final = 110
"""Seconds in which a mobile node behind a NAT should have sent something (RFC 5555 section 6.1)."""

MAX_NONCE_LIFETIME: Final = 240.0
"""How long a correspondent node accepts a nonce."""

MAX_RR_BINDING_LIFETIME: Final = 420.0
"""The longest lifetime of a binding that return routability has secured."""

MAX_DELETE_BCE_TIMEOUT: Final = 10.0
"""How long a home agent remembers the sequence number of a binding that was removed."""


def not_greater(received: int, last: int) -> bool:
    """Whether a sequence number is too old: the last one and the 32768 before it (RFC 6275 section 9.5.1)."""
    return (last - received) & 0xFFFF <= 32768
