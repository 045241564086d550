"""A server of Baidu's wire format that speaks a tone."""

from collections.abc import Iterator

import numpy as np
import pytest

from speech import mp3
from tests.servers.baidu import BaiduServer


@pytest.fixture(scope="session")
def sound() -> bytes:
    tone = 8000 * np.sin(np.arange(16_000) / 10)
    return mp3.encode(tone.astype(np.int16), 16_000)


@pytest.fixture
def server(sound: bytes) -> Iterator[BaiduServer]:
    with BaiduServer(sound=lambda text: sound) as running:
        yield running
