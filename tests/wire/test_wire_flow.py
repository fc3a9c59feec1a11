"""Flow identification and flow summary options, octet by octet, in both profiles and with every switch."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from flowclass.errors import DecodeError, EncodeError, FlowclassError
from flowclass.wire import (
    DRAFT,
    RFC6089,
    Action,
    BindingAcknowledgement,
    BindingIdentifier,
    BindingReference,
    BindingRefreshRequest,
    BindingUpdate,
    FlowIdentification,
    FlowSummary,
    MalformedOption,
    MalformedSubOption,
    Pad1,
    PadN,
    Profile,
    Request,
    TrafficSelector6,
    TrafficSelectorOption,
    UnknownOption,
    UnknownSelector,
    UnknownSubOption,
    Verbatim,
    decode_message,
    encode_message,
    get_profile,
)

BOTH = pytest.mark.parametrize("profile", [DRAFT, RFC6089], ids=lambda p: p.name)


def mobility_header(kind: int, options: str) -> bytes:
    """A binding update (5) or acknowledgement (6), all zeros but these options, padded with Pad1."""
    body = bytes(6) + bytes.fromhex(options)
    body += bytes(-(len(body) + 6) % 8)
    return bytes((59, (len(body) + 6) // 8 - 1, kind, 0, 0, 0)) + body


def decoded(options: str, profile: Profile, kind: int = 5) -> list[Any]:
    message = decode_message(mobility_header(kind, options), profile)
    assert isinstance(message, BindingUpdate | BindingAcknowledgement)
    assert encode_message(message, profile=profile) == mobility_header(kind, options)
    return [option for option in message.options if not isinstance(option, Pad1)]


def encoded(option: Any, profile: Profile, kind: type = BindingUpdate) -> str:
    """The option's octets at offset 12 of a message."""
    fixed = (0, 0, 0) if kind is BindingAcknowledgement else (0, 0)
    octets = encode_message(kind(*fixed, options=(option,)), profile=profile)
    received: Any = decode_message(octets, profile)
    last = received.options[-1]
    padding = 0 if not isinstance(last, Pad1 | PadN) else 1 if isinstance(last, Pad1) else 2 + len(last.data)
    return octets[12 : len(octets) - padding].hex()


# made by hand from figure 1
@pytest.mark.req("R12", "R15", "R16", "R17", "R19", "R21", "R29", "R32", "R33", "R34", "K1", "K2", "K3")
@pytest.mark.parametrize(
    ("octets", "option"),
    [
        (
            "12 0a 01 0001 01 00 00 01 04 0001",
            FlowIdentification(1, 1, suboptions=(BindingReference((1,)),)),
        ),
        ("12 06 01 0001 01 00 f0", FlowIdentification(1, 1, pro=Request.REMOVE)),
        ("12 06 01 0001 01 00 00", FlowIdentification(1, 1)),
        ("12 06 01 0001 01 87 00", FlowIdentification(1, 1, status=135)),
        ("12 06 ff fffe 02 00 10", FlowIdentification(0xFFFE, 255, Action.DISCARD, Request.REPLACE)),
        (
            "12 0e 00 0000 03 00 20 01 08 0001 0002 ffff",
            FlowIdentification(0, 0, Action.N_CAST, Request.REFRESH, suboptions=(BindingReference((1, 2, 0xFFFF)),)),
        ),
    ],
)
def test_the_draft_s_octets(octets: str, option: FlowIdentification) -> None:
    assert decoded(octets, DRAFT) == [option]
    assert encoded(option, DRAFT) == bytes.fromhex(octets).hex()


@pytest.mark.req("K3", "K16", "K36")
@pytest.mark.parametrize(
    ("octets", "option"),
    [
        (
            "2d 15 0001 0001 00 00 02 02 0001 03 09 02 00 00820000 0016 06",
            FlowIdentification(
                1,
                1,
                suboptions=(
                    BindingReference((1,)),
                    TrafficSelectorOption(TrafficSelector6(source_port=(22, 22), protocol=(6, 6))),
                ),
            ),
        ),
        ("2d 06 0006 001f 00 83", FlowIdentification(6, 31, status=131)),
        (
            "2d 0c 0001 fffe 00 00 02 04 0001 0002",
            FlowIdentification(1, 0xFFFE, suboptions=(BindingReference((1, 2)),)),
        ),
        ("2c 06 0001 0002 0005", FlowSummary((1, 2, 5))),
        ("2c 02 ffff", FlowSummary((0xFFFF,))),
    ],
)
def test_rfc_6089_s_octets(octets: str, option: Any) -> None:
    assert decoded(octets, RFC6089) == [option]
    assert encoded(option, RFC6089) == bytes.fromhex(octets).hex()


@pytest.mark.req("R20")
def test_reserved_bits_are_ignored_and_sent_as_zero() -> None:
    message = decode_message(mobility_header(5, "12 06 01 0001 01 00 ff"), DRAFT)
    assert isinstance(message, BindingUpdate)
    assert message.options[0] == FlowIdentification(1, 1, pro=15)
    assert encode_message(message, profile=DRAFT) == mobility_header(5, "12 06 01 0001 01 00 f0")
    message = decode_message(mobility_header(5, "2d 06 0001 0001 ff 00"), RFC6089)
    assert encode_message(message, profile=RFC6089) == mobility_header(5, "2d 06 0001 0001 00 00")


@pytest.mark.req("R18", "R21", "R24", "K24", "K31")
def test_undefined_values_survive_for_the_receiver_to_judge() -> None:
    for pro in range(16):
        for action in (0, 4, 255):
            option = FlowIdentification(0, 0, action, pro, status=255)
            assert decoded(encoded(option, DRAFT), DRAFT) == [option]


@pytest.mark.req("R9")
def test_flow_options_in_other_messages() -> None:
    for option, profile in ((FlowIdentification(1, 1), DRAFT), (FlowSummary((1,)), RFC6089)):
        with pytest.raises(EncodeError, match="has no Flow"):
            encode_message(BindingRefreshRequest((option,)), profile=profile)
    with pytest.raises(EncodeError, match="has no FlowSummary"):
        encoded(FlowSummary((1,)), RFC6089, BindingAcknowledgement)
    with pytest.raises(EncodeError, match="'draft' has no FlowSummary"):
        encoded(FlowSummary((1,)), DRAFT)
    request = decode_message(bytes.fromhex("3b 01 00 00 0000 0000 12 06 01 0001 01 00 00"), DRAFT)
    assert isinstance(request, BindingRefreshRequest)
    assert request.options == (UnknownOption(18, bytes.fromhex("010001010000")),)


@pytest.mark.req("R13", "R96", "K22")
def test_the_option_type_can_be_chosen() -> None:
    other = replace(DRAFT, flow_identification=77)
    option = FlowIdentification(1, 1)
    assert encoded(option, other) == "4d06010001010000"
    assert decoded("4d 06 01 0001 01 00 00", other) == [option]
    # the default type is then one that nobody knows, as the RFC's types are in the draft profile
    assert decoded("12 06 01 0001 01 00 00", other) == [UnknownOption(18, bytes.fromhex("010001010000"))]
    assert decoded("2d 06 0001 0001 0000 2c 02 0001", DRAFT) == [
        UnknownOption(45, bytes.fromhex("000100010000")),
        UnknownOption(44, b"\0\1"),
    ]
    for taken in (0, 5, 35, 256, -1):
        with pytest.raises(FlowclassError, match="cannot carry flow bindings"):
            replace(DRAFT, flow_identification=taken)
    with pytest.raises(FlowclassError, match="different option types"):
        replace(RFC6089, flow_identification=44)


def test_a_profile_by_name() -> None:
    assert get_profile("draft") is DRAFT
    assert get_profile("rfc6089") is RFC6089
    assert get_profile(RFC6089) is RFC6089
    with pytest.raises(FlowclassError, match="unknown profile 'rfc'"):
        get_profile("rfc")


@BOTH
def test_profiles_and_values_can_be_pickled_and_copied(profile: Profile) -> None:
    other = replace(profile, flow_identification=77)
    message = decode_message(
        encode_message(BindingUpdate(1, 1, options=(FlowIdentification(1, 1),)), profile=other), other
    )
    for again in (pickle.loads(pickle.dumps(other)), copy.deepcopy(other)):
        assert again == other
        assert hash(again) == hash(other)
    received = pickle.loads(pickle.dumps(message))
    assert received == message
    assert type(received.options) is Verbatim
    assert encode_message(received, profile=other) == encode_message(message, profile=other)


@pytest.mark.req("R25")
def test_status_codes_have_names() -> None:
    assert {*range(128, 140), 0} == set(DRAFT.status.names)
    assert {*range(128, 134), 0} == set(RFC6089.status.names)
    assert DRAFT.status.names[DRAFT.status.fid_not_found] == "FID not found"
    assert RFC6089.status.names[RFC6089.status.fid_not_found] == "FID not found"
    assert DRAFT.status.names[DRAFT.status.fid_in_use] == "FID already in use"


@pytest.mark.req("K36")
def test_the_numbers_of_iana() -> None:
    assert (RFC6089.flow_summary, RFC6089.flow_identification) == (44, 45)


# ---- length in 8-octet units ---------------------------------------------------------------------------------------


@pytest.mark.req("R14", "K2")
def test_a_length_of_one_to_five_counts_units() -> None:
    bare = FlowIdentification(1, 1)
    with_bid = FlowIdentification(1, 1, suboptions=(BindingReference((1,)), *[Pad1()] * 4))
    assert decoded("12 01 01 0001 01 00 00", DRAFT) == [bare]
    assert decoded("12 02 01 0001 01 00 00 01 04 0001 00000000", DRAFT) == [with_bid]
    assert decoded("12 05 01 0001 01 00 00" + "00" * 32, DRAFT)[0].suboptions == (Pad1(),) * 32
    # the next option is where it should be
    assert decoded("12 01 01 0001 01 00 00 12 06 01 0002 01 00 00", DRAFT) == [bare, replace(bare, fid=2)]
    with pytest.raises(DecodeError, match="38 octets expected, 10 left"):
        decode_message(mobility_header(5, "12 05 01 0001 01 00 00 00000000"), DRAFT)


@pytest.mark.req("K2")
def test_an_answer_counts_octets() -> None:
    (option,) = decoded("12 02 01 0001 01 00 00 01 04 0001 00000000", DRAFT)
    assert encoded(option.answer(135, whole=False), DRAFT, BindingAcknowledgement) == "1206010001018700"
    # also where binding updates are sent in units
    units = replace(DRAFT, send_len_units=True)
    assert encoded(option.answer(0, whole=False), units, BindingAcknowledgement) == "1206010001010000"


@pytest.mark.req("K2")
def test_units_can_be_refused_and_sent() -> None:
    strict = replace(DRAFT, accept_len_units=False)
    # too short for the fixed part: no flow option
    assert decoded("12 01 ff", strict) == [UnknownOption(18, b"\xff")]
    assert decoded("12 00", DRAFT) == [UnknownOption(18, b"")]
    units = replace(DRAFT, send_len_units=True)
    option = FlowIdentification(1, 1, suboptions=(BindingReference((1,)),))
    assert encoded(option, units) == "12020100010100000104000100000000"
    (received,) = decoded(encoded(option, units), units)
    assert received.bids == (1,)
    big = FlowIdentification(1, 1, suboptions=tuple(UnknownSubOption(9, bytes(250)) for _ in range(9)))
    with pytest.raises(EncodeError):
        encoded(big, units)


@pytest.mark.req("K2")
def test_the_rfc_never_counts_units() -> None:
    assert decoded("2d 01 ff", RFC6089) == [UnknownOption(45, b"\xff")]


# ---- sub-options ---------------------------------------------------------------------------------------------------


@pytest.mark.req("R24", "R30", "R96", "K8", "K16", "K22")
def test_the_draft_s_sub_options() -> None:
    (option,) = decoded(
        "12 1e 01 0001 03 00 00" + "01 06 0001 0002" + "00" + "09 03 aa" + "03 08 02 00 00000000" + "01 06 0002 0003",
        DRAFT,
    )
    assert option.suboptions == (
        BindingReference((1, 2)),
        Pad1(),
        UnknownSubOption(9, b"\xaa"),
        TrafficSelectorOption(TrafficSelector6()),
        BindingReference((2, 3)),
    )
    assert option.bids == (1, 2, 3)
    assert option.selector == TrafficSelector6()
    assert option.has_reference
    assert option.error is None


def test_the_rfc_s_sub_options() -> None:
    (option,) = decoded("2d 15 0001 0001 0000 01 00 00 01 02 ffff fe 01 aa 02 02 0001 00", RFC6089)
    assert option.suboptions == (
        PadN(),
        Pad1(),
        PadN(b"\xff\xff"),
        UnknownSubOption(254, b"\xaa"),
        BindingReference((1,)),
        Pad1(),
    )


@pytest.mark.req("R11", "K9")
def test_an_option_without_description() -> None:
    (option,) = decoded("12 06 01 0001 01 00 00", DRAFT)
    assert (option.selector, option.bids, option.has_reference, option.error) == (None, (), False, None)


@pytest.mark.req("R25", "R29", "K3", "K16")
@pytest.mark.parametrize(
    ("profile", "octets", "bad", "reason"),
    [
        (DRAFT, "12 08 01 0001 01 00 00 01 02", "0102", "a binding reference of 0 octets"),
        (DRAFT, "12 0b 01 0001 01 00 00 01 05 000102", "0105000102", "a binding reference of 3 octets"),
        (DRAFT, "12 08 01 0001 01 00 00 01 01", "0101", "a sub-option of 1 octets, 2 are left"),
        (DRAFT, "12 08 01 0001 01 00 00 09 00", "0900", "a sub-option of 0 octets"),
        (DRAFT, "12 0a 01 0001 01 00 00 01 06 0001", "01060001", "a sub-option of 6 octets, 4 are left"),
        (DRAFT, "12 07 01 0001 01 00 00 01", "01", "a sub-option cut short"),
        (DRAFT, "12 09 01 0001 01 00 00 03 03 02", "030302", "a traffic selector without its format"),
        (DRAFT, "12 0a 01 0001 01 00 00 03 04 02 00", "03040200", "a traffic selector of 0 octets"),
        (RFC6089, "2d 08 0001 0001 0000 02 00", "0200", "a binding reference of 0 octets"),
        (RFC6089, "2d 09 0001 0001 0000 02 01 00", "020100", "a binding reference of 1 octets"),
        (RFC6089, "2d 0a 0001 0001 0000 02 03 0001", "02030001", "a sub-option of 5 octets, 4 are left"),
        (RFC6089, "2d 08 0001 0001 0000 03 00", "0300", "a traffic selector without its format"),
    ],
)
def test_malformed_sub_options(profile: Profile, octets: str, bad: str, reason: str) -> None:
    (option,) = decoded(octets, profile)
    assert option.fid == 1
    assert option.suboptions == (MalformedSubOption(bytes.fromhex(bad)),)
    assert option.error is not None
    assert option.error.reason.startswith(reason)
    # from the start of the message: inside the sub-option, or at its end
    start = 12 + 2 + 6
    assert start <= option.error.offset <= start + len(bad) // 2
    # the fixed part can be answered
    assert option.answer(129, whole=False).status == 129


@pytest.mark.req("K16")
def test_a_second_sub_option_of_its_kind() -> None:
    (option,) = decoded("2d 0e 0001 0001 0000 02 02 0001 02 02 0002", RFC6089)
    assert option.suboptions == (BindingReference((1,)), MalformedSubOption(bytes.fromhex("02020002")))
    (option,) = decoded("12 16 01 0001 01 00 00 03 08 02 00 00000000 03 08 01 00 00000000", DRAFT)
    assert option.suboptions[1] == MalformedSubOption(bytes.fromhex("0308010000000000"))
    assert option.selector == TrafficSelector6()


def test_a_fault_does_not_hide_what_follows() -> None:
    (option,) = decoded("2d 0e 0001 0001 0000 03 01 02 02 02 0002 00", RFC6089)
    assert option.suboptions == (MalformedSubOption(b"\3\1\2"), BindingReference((2,)), Pad1())


def test_an_unknown_selector_format() -> None:
    (option,) = decoded("12 0b 01 0001 01 00 00 03 05 63 00 aa", DRAFT)
    assert option.selector == UnknownSelector(0x63, b"\xaa")
    assert option.error is None


@pytest.mark.parametrize("octets", ["2c 00", "2c 01 00", "2c 03 000100"])
def test_a_malformed_flow_summary(octets: str) -> None:
    # the message stays readable: what else it says is to be answered
    data = mobility_header(5, octets)
    (option,) = [o for o in decode_message(data, RFC6089).options if isinstance(o, MalformedOption)]
    assert (option.type, option.data, option.offset) == (44, bytes.fromhex(octets)[2:], 14)
    assert option.reason.startswith("a flow summary of")
    assert encode_message(decode_message(data, RFC6089), profile=RFC6089) == data


# ---- answers -------------------------------------------------------------------------------------------------------


@pytest.mark.req("R73", "R74", "R80", "R129", "K7")
def test_the_draft_answers_with_eight_octets() -> None:
    (option,) = decoded("12 0a 05 0102 03 55 10 01 04 0001", DRAFT)
    answer = option.answer(136, whole=DRAFT.echo_whole)
    assert encoded(answer, DRAFT, BindingAcknowledgement) == "1206050102038810"


@pytest.mark.req("K7")
def test_the_rfc_answers_with_the_whole_option() -> None:
    octets = "2d 0d 0001 0001 0000 02 02 0001 03 01 07"
    (option,) = decoded(octets, RFC6089)
    answer = option.answer(133, whole=RFC6089.echo_whole)
    assert encoded(answer, RFC6089, BindingAcknowledgement) == bytes.fromhex(octets.replace("0000 02", "0085 02")).hex()


# ---- what has no encoding ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "profile"),
    [
        (lambda: FlowIdentification(1 << 16, 1), DRAFT),
        (lambda: FlowIdentification(1, 256), DRAFT),
        (lambda: FlowIdentification(1, 1, pro=16), DRAFT),
        (lambda: FlowIdentification(-1, 1), RFC6089),
        (lambda: FlowIdentification(1, 1 << 16), RFC6089),
        (lambda: FlowIdentification(1, 1, action=Action.DISCARD), RFC6089),
        (lambda: FlowIdentification(1, 1, pro=Request.REMOVE), RFC6089),
        (lambda: FlowIdentification(1, 1, suboptions=(BindingReference(()),)), DRAFT),
        (lambda: FlowIdentification(1, 1, suboptions=(BindingReference((1 << 16,)),)), DRAFT),
        (lambda: FlowIdentification(1, 1, suboptions=(PadN(),)), DRAFT),
        (lambda: FlowIdentification(1, 1, suboptions=(UnknownSubOption(0, b""),)), DRAFT),
        (lambda: FlowIdentification(1, 1, suboptions=(UnknownSubOption(7, bytes(254)),)), DRAFT),
        (lambda: FlowIdentification(1, 1, suboptions=(UnknownSubOption(7, bytes(248)),)), RFC6089),
        (lambda: FlowSummary(()), RFC6089),
        (lambda: FlowSummary(tuple(range(128))), RFC6089),
    ],
)
def test_values_that_do_not_fit(option: Callable[[], Any], profile: Profile) -> None:
    with pytest.raises(EncodeError):
        encoded(option(), profile)


# ---- layout --------------------------------------------------------------------------------------------------------


@pytest.mark.req("K15")
@BOTH
def test_options_start_at_even_octets_and_are_read_anywhere(profile: Profile) -> None:
    odd = UnknownOption(64, b"\1")
    option = FlowIdentification(1, 1, suboptions=Verbatim((BindingReference((2,)),)))
    octets = encode_message(BindingUpdate(1, 1, options=(odd, option)), profile=profile)
    received = decode_message(octets, profile)
    assert isinstance(received, BindingUpdate)
    assert received.options[:3] == (odd, Pad1(), option)
    unaligned = encode_message(BindingUpdate(1, 1, options=Verbatim((odd, option, *[Pad1()] * 5))), profile=profile)
    received = decode_message(unaligned, profile)
    assert isinstance(received, BindingUpdate)
    assert received.options[:2] == (odd, option)
    assert unaligned[15] == profile.flow_identification


@BOTH
def test_any_change_of_received_options_is_laid_out_anew(profile: Profile) -> None:
    first = BindingUpdate(1, 1, options=(BindingIdentifier(1), FlowIdentification(1, 1)))
    received = decode_message(encode_message(first, profile=profile), profile)
    assert isinstance(received, BindingUpdate)
    assert type(received.options) is Verbatim
    changed = replace(received, options=(*received.options, FlowIdentification(2, 2)))
    again = decode_message(encode_message(changed, profile=profile), profile)
    assert isinstance(again, BindingUpdate)
    assert FlowIdentification(2, 2) in again.options
