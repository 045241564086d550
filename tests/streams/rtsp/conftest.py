"""What most tests of the front share: a clip cut up for RTP once."""

from pathlib import Path

import pytest

from tests.servers.rtp_payloads import RtpClip


@pytest.fixture(scope="session")
def clip(h264: Path) -> RtpClip:
    return RtpClip.of(h264)
