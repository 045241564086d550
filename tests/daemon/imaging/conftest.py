"""The far sides of imaging jobs, and settings that lead there."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.servers.cos import CosServer
from tests.servers.fundus import APP_ID, TOKEN, FundusServer
from tests.servers.fundus_answers import packed, ultra_wide_answer
from tests.servers.pathology import PASSWORD, USERNAME, PathologyServer
from tests.slides import write_slide


@pytest.fixture(scope="session")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slide(tmp_path_factory.mktemp("slides") / "活检-01.tif")


@pytest.fixture
def cos(tmp_path: Path) -> Iterator[CosServer]:
    with CosServer(tmp_path / "cos") as server:
        yield server


@pytest.fixture
def platform(cos: CosServer) -> Iterator[PathologyServer]:
    with PathologyServer(cos) as server:
        server.needs_callback = True
        yield server


@pytest.fixture
def pathology(tmp_path: Path, cos: CosServer, platform: PathologyServer) -> dict[str, Any]:
    """imaging=... of the settings."""
    slides = tmp_path / "slides"
    slides.mkdir()
    return {
        "folder": str(tmp_path / "imaging"),
        "pathology": {
            "base_url": platform.url,
            "username": USERNAME,
            "password": PASSWORD,
            "cos_endpoint": f"127.0.0.1:{cos.port}",
            "cos_secure": False,
            "cos_bucket": cos.bucket,
            "cos_region": cos.region,
            "organization": "测试医院",
            "part_size_mib": 1,
            "poll_interval_s": 0.05,
            "slides_dir": str(slides),
        },
    }


@pytest.fixture
def eyes() -> Iterator[FundusServer]:
    with FundusServer(ultra_wide_answer(left={"MacularHole": "1"}, left_detail=MARKED)) as server:
        yield server


@pytest.fixture
def fundus(tmp_path: Path, eyes: FundusServer) -> dict[str, Any]:
    """imaging=... of the settings."""
    return {
        "folder": str(tmp_path / "imaging"),
        "fundus": {
            "base_url": eyes.url,
            "app_id": APP_ID,
            "token": TOKEN,
            "poll_interval_s": 0.05,
            "timeout_s": 8.0,
        },
    }


MARKED = {
    "others": [1, 0, -1] + [0] * 44,
    "hemohedgeMask": json.dumps([[[20, 20], [60, 20], [60, 60], [20, 60]]]),
    "retinalHole": packed([{"bbox": [70, 10, 90, 30], "score": 0.9}]),
}


@pytest.fixture(scope="session")
def left_eye(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _picture(tmp_path_factory.mktemp("eyes") / "P001_OS.jpg", 100)


@pytest.fixture(scope="session")
def right_eye(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _picture(tmp_path_factory.mktemp("eyes") / "P001_OD.png", 120)


def _picture(path: Path, side: int) -> Path:
    pixels = np.full((side, side, 3), (30, 60, 120), np.uint8)
    assert cv2.imwrite(str(path), pixels)
    return path
