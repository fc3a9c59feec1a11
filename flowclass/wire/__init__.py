"""The sans-IO codec: Mobility Header messages and their options, bytes to frozen values and back.

`decode_message` and `encode_message` take one Mobility Header, `decode_packet` and `encode_packet` a whole IPv6 packet.
A profile, `DRAFT` or `RFC6089`, says which flow options there are and how they look.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flowclass.late import late_names

if TYPE_CHECKING:
    from .flow_options import BindingReference as BindingReference
    from .flow_options import FlowIdentification as FlowIdentification
    from .flow_options import FlowSummary as FlowSummary
    from .flow_options import MalformedSubOption as MalformedSubOption
    from .flow_options import SubOption as SubOption
    from .flow_options import TrafficSelectorOption as TrafficSelectorOption
    from .flow_options import UnknownSubOption as UnknownSubOption
    from .message_codec import checksum_ok as checksum_ok
    from .message_codec import decode_message as decode_message
    from .message_codec import encode_message as encode_message
    from .messages import BindingAcknowledgement as BindingAcknowledgement
    from .messages import BindingError as BindingError
    from .messages import BindingRefreshRequest as BindingRefreshRequest
    from .messages import BindingRevocationAcknowledgement as BindingRevocationAcknowledgement
    from .messages import BindingRevocationIndication as BindingRevocationIndication
    from .messages import BindingUpdate as BindingUpdate
    from .messages import CareOfTest as CareOfTest
    from .messages import CareOfTestInit as CareOfTestInit
    from .messages import HomeTest as HomeTest
    from .messages import HomeTestInit as HomeTestInit
    from .messages import Message as Message
    from .messages import Option as Option
    from .messages import UnknownMessage as UnknownMessage
    from .numbers import BINDING_STATUS as BINDING_STATUS
    from .numbers import LIFETIME_UNIT as LIFETIME_UNIT
    from .numbers import MOBILITY_HEADER as MOBILITY_HEADER
    from .numbers import AcknowledgementFlag as AcknowledgementFlag
    from .numbers import Action as Action
    from .numbers import BindingErrorStatus as BindingErrorStatus
    from .numbers import BindingStatus as BindingStatus
    from .numbers import DraftFlowStatus as DraftFlowStatus
    from .numbers import IPv4Status as IPv4Status
    from .numbers import MessageType as MessageType
    from .numbers import OptionType as OptionType
    from .numbers import Protocol as Protocol
    from .numbers import Request as Request
    from .numbers import RevocationFlag as RevocationFlag
    from .numbers import RevocationStatus as RevocationStatus
    from .numbers import RevocationTrigger as RevocationTrigger
    from .numbers import Rfc6089FlowStatus as Rfc6089FlowStatus
    from .numbers import SelectorFormat as SelectorFormat
    from .numbers import UpdateFlag as UpdateFlag
    from .options import AlternateCareOf as AlternateCareOf
    from .options import BindingAuthorizationData as BindingAuthorizationData
    from .options import BindingIdentifier as BindingIdentifier
    from .options import BindingRefreshAdvice as BindingRefreshAdvice
    from .options import IPv4AddressAcknowledgement as IPv4AddressAcknowledgement
    from .options import IPv4CareOf as IPv4CareOf
    from .options import IPv4HomeAddress as IPv4HomeAddress
    from .options import MalformedOption as MalformedOption
    from .options import MessageAuthentication as MessageAuthentication
    from .options import MobileNetworkPrefix as MobileNetworkPrefix
    from .options import MobileNodeIdentifier as MobileNodeIdentifier
    from .options import NatDetection as NatDetection
    from .options import NonceIndices as NonceIndices
    from .options import Pad1 as Pad1
    from .options import PadN as PadN
    from .options import ReplayProtection as ReplayProtection
    from .options import UnknownOption as UnknownOption
    from .options import Verbatim as Verbatim
    from .packets import ExtensionHeader as ExtensionHeader
    from .packets import MobilityPacket as MobilityPacket
    from .packets import decode_packet as decode_packet
    from .packets import encode_packet as encode_packet
    from .profiles import DRAFT as DRAFT
    from .profiles import RFC6089 as RFC6089
    from .profiles import FlowStatus as FlowStatus
    from .profiles import Profile as Profile
    from .profiles import get_profile as get_profile
    from .selectors import Range as Range
    from .selectors import Range4 as Range4
    from .selectors import Range6 as Range6
    from .selectors import TrafficSelector4 as TrafficSelector4
    from .selectors import TrafficSelector6 as TrafficSelector6
    from .selectors import UnknownSelector as UnknownSelector

# public name -> the module of this package that defines it
_PLACES = {
    "BINDING_STATUS": "numbers",
    "DRAFT": "profiles",
    "LIFETIME_UNIT": "numbers",
    "MOBILITY_HEADER": "numbers",
    "RFC6089": "profiles",
    "AcknowledgementFlag": "numbers",
    "Action": "numbers",
    "AlternateCareOf": "options",
    "BindingAcknowledgement": "messages",
    "BindingAuthorizationData": "options",
    "BindingError": "messages",
    "BindingErrorStatus": "numbers",
    "BindingIdentifier": "options",
    "BindingReference": "flow_options",
    "BindingRefreshAdvice": "options",
    "BindingRefreshRequest": "messages",
    "BindingRevocationAcknowledgement": "messages",
    "BindingRevocationIndication": "messages",
    "BindingStatus": "numbers",
    "BindingUpdate": "messages",
    "CareOfTest": "messages",
    "CareOfTestInit": "messages",
    "DraftFlowStatus": "numbers",
    "ExtensionHeader": "packets",
    "FlowIdentification": "flow_options",
    "FlowStatus": "profiles",
    "FlowSummary": "flow_options",
    "HomeTest": "messages",
    "HomeTestInit": "messages",
    "IPv4AddressAcknowledgement": "options",
    "IPv4CareOf": "options",
    "IPv4HomeAddress": "options",
    "IPv4Status": "numbers",
    "MalformedOption": "options",
    "MalformedSubOption": "flow_options",
    "Message": "messages",
    "MessageAuthentication": "options",
    "MessageType": "numbers",
    "MobileNetworkPrefix": "options",
    "MobileNodeIdentifier": "options",
    "MobilityPacket": "packets",
    "NatDetection": "options",
    "NonceIndices": "options",
    "Option": "messages",
    "OptionType": "numbers",
    "Pad1": "options",
    "PadN": "options",
    "Profile": "profiles",
    "Protocol": "numbers",
    "Range": "selectors",
    "Range4": "selectors",
    "Range6": "selectors",
    "ReplayProtection": "options",
    "Request": "numbers",
    "RevocationFlag": "numbers",
    "RevocationStatus": "numbers",
    "RevocationTrigger": "numbers",
    "Rfc6089FlowStatus": "numbers",
    "SelectorFormat": "numbers",
    "SubOption": "flow_options",
    "TrafficSelector4": "selectors",
    "TrafficSelector6": "selectors",
    "TrafficSelectorOption": "flow_options",
    "UnknownMessage": "messages",
    "UnknownOption": "options",
    "UnknownSelector": "selectors",
    "UnknownSubOption": "flow_options",
    "UpdateFlag": "numbers",
    "Verbatim": "options",
    "checksum_ok": "message_codec",
    "decode_message": "message_codec",
    "decode_packet": "packets",
    "encode_message": "message_codec",
    "encode_packet": "packets",
    "get_profile": "profiles",
}

__all__ = list(_PLACES)

__getattr__: Callable[[str], Any]
__dir__: Callable[[], list[str]]
__getattr__, __dir__ = late_names(__name__, _PLACES)
