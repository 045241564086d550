"""The track that is read is the first that can be, and its address is found as cameras mean it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.rtsp.sdp import described, joined, resolved

SDP = """v=0
c=IN IP4 239.1.1.1
a=control:*
m=audio 0 RTP/AVP 0
a=control:trackID=1
m=video 0 RTP/AVP 98
a=rtpmap:98 X-ODD/90000
a=control:trackID=2
m=video 0 RTP/AVP 97 96
a=rtpmap:97 rtx/90000
a=fmtp:97 apt=96
a=rtpmap:96 h265/90000
a=fmtp:96 sprop-vps=AAAA
a=framerate:25
a=key-mgmt:mikey secret
a=control:trackID=3
m=application 0 RTP/AVP 107
a=rtpmap:107 vnd.onvif.metadata/90000
"""


def test_the_first_track_that_can_be_decoded_is_read_and_libav_is_told_of_no_other() -> None:
    track = described(SDP).read

    assert track is not None
    assert (track.encoding, track.payload_type, track.control) == ("H265", 96, "trackID=3")
    told = track.for_libav()
    assert told.count("m=") == 1
    assert "a=fmtp:96 sprop-vps=AAAA\r\n" in told
    assert "a=framerate:25\r\n" in told
    assert not any(other in told for other in ("rtx", "apt=", "239.1.1.1", "mikey", "X-ODD", "trackID"))


@pytest.mark.parametrize("sdp", ["", "m=audio 0 RTP/AVP 0", "m=video", "m=video 0 RTP/AVP x", "\0\n=\nm=\n"])
def test_where_there_is_no_video_none_is_read(sdp: str) -> None:
    assert described(sdp).read is None


def test_a_static_payload_type_needs_no_name() -> None:
    track = described("m=video 0 RTP/AVP 26").read
    assert track is not None
    assert track.encoding == "JPEG"


@pytest.mark.parametrize(
    ("base", "control", "first"),
    [
        ("rtsp://cam/live", "trackID=1", "rtsp://cam/live/trackID=1"),
        ("rtsp://cam/live/", "trackID=1", "rtsp://cam/live/trackID=1"),
        ("rtsp://cam/live?ch=1&sub=0", "trackID=1", "rtsp://cam/live?ch=1&sub=0/trackID=1"),
        ("rtsp://cam/live/", "*", "rtsp://cam/live/"),
        ("rtsp://cam/live/", "", "rtsp://cam/live/"),
        ("rtsps://cam/live/", "rtsps://cam/live/video", "rtsps://cam/live/video"),
        ("rtsps://cam/live/", "/live/video", "rtsps://cam/live/video"),
        ("rtsp://cam/live/", "/video", "rtsp://cam/live/video"),
    ],
)
def test_a_control_leads_where_cameras_mean_it_to(base: str, control: str, first: str) -> None:
    assert joined(base, control)[0] == first


@given(st.text(max_size=40), st.text(max_size=40), st.lists(st.text("am=v:*/ []@?0RTPAVPvideo96", max_size=30)))
def test_no_address_and_no_description_whatever_they_hold_break_anything(
    base: str, control: str, lines: list[str]
) -> None:
    assert joined(base, control)
    assert isinstance(resolved(base, control), str)
    track = described("m=video 0 RTP/AVP 96\n" + "\n".join(lines)).read
    assert track is None or track.for_libav()


def test_what_the_rfc_means_is_the_second_way() -> None:
    assert joined("rtsp://cam/a/b", "t=1") == ["rtsp://cam/a/b/t=1", "rtsp://cam/a/t=1"]


@pytest.mark.parametrize(("encoding", "is_taken"), [("JPEG2000", False), ("FOO", False), ("H264", True), ("raw", True)])
def test_an_encoding_that_nobody_here_takes_apart_is_known_as_such(encoding: str, is_taken: bool) -> None:
    track = described(f"m=video 0 RTP/AVP 96\na=rtpmap:96 {encoding}/90000\n").read

    assert track is not None
    assert (track.encoding, track.is_taken) == (encoding.upper(), is_taken)


def test_a_payload_type_of_thousands_of_digits_is_none() -> None:
    assert described(f"m=video 0 RTP/AVP {'9' * 5000}\n").read is None
