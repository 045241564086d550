"""Frozen and covered pictures are noted with their time."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from streams.health import PictureHealth

START = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
RNG = np.random.default_rng(3)
SCENE = np.kron(RNG.integers(40, 220, (28, 28, 3)), np.ones((8, 8, 1))).astype(np.uint8)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def with_noise(rgb: np.ndarray, sigma: float = 3.0) -> np.ndarray:
    return np.clip(rgb + RNG.normal(0, sigma, rgb.shape), 0, 255).astype(np.uint8)


def test_an_identical_picture_is_frozen_after_a_while_since_its_first() -> None:
    health = PictureHealth(frozen_after_s=10)
    for second in range(3):
        health.look(with_noise(SCENE), at(second))
    for second in range(3, 13):
        health.look(SCENE, at(second))
        assert health.frozen_since is None
    health.look(SCENE, at(13))
    assert health.frozen_since == at(3)


def test_a_frozen_picture_that_moves_again_is_not_frozen() -> None:
    health = PictureHealth(frozen_after_s=10)
    for second in range(20):
        health.look(SCENE, at(second))
    assert health.frozen_since == at(0)
    health.look(with_noise(SCENE), at(20))
    assert health.frozen_since is None


def test_a_still_scene_through_a_living_sensor_is_not_frozen() -> None:
    health = PictureHealth(frozen_after_s=10)
    for second in range(60):
        health.look(with_noise(SCENE, 1.5), at(second))
    assert health.frozen_since is None


@pytest.mark.parametrize(
    "covered",
    [
        np.zeros((224, 224, 3), np.uint8),
        np.full((224, 224, 3), 90, np.uint8),
        np.linspace(20, 90, 224)[None, :, None].repeat(224, 0).repeat(3, 2).astype(np.uint8),
    ],
    ids=["black", "a cap", "a drape out of focus"],
)
def test_a_picture_without_any_detail_is_covered_after_a_while(covered: np.ndarray) -> None:
    health = PictureHealth(frozen_after_s=1000)
    health.look(SCENE, at(0))
    for second in range(1, 4):
        health.look(with_noise(covered, 0.6), at(second))
        assert health.covered_since is None
    health.look(with_noise(covered, 0.6), at(4))
    assert health.covered_since == at(1)
    health.look(SCENE, at(5))
    assert health.covered_since is None


def test_a_hand_that_passes_is_no_cover() -> None:
    health = PictureHealth(frozen_after_s=1000)
    for second in range(20):
        health.look(SCENE if second % 3 == 0 else np.zeros_like(SCENE), at(second))
        assert health.covered_since is None


def test_equal_pictures_around_a_gap_are_not_frozen_since_before_it() -> None:
    health = PictureHealth(frozen_after_s=30)
    for second in (0, 0.5, 1, 41, 42):
        health.look(SCENE, at(second))
        assert health.frozen_since is None
    for second in range(43, 72):
        health.look(SCENE, at(second))
    assert health.frozen_since == at(41)


def test_a_gap_takes_back_what_was_frozen_before_it() -> None:
    health = PictureHealth(frozen_after_s=30)
    for second in range(40):
        health.look(SCENE, at(second))
    assert health.frozen_since == at(0)
    health.look(SCENE, at(50))
    assert health.frozen_since is None


def test_a_cover_is_not_known_of_a_gap() -> None:
    health = PictureHealth(frozen_after_s=30)
    cap = np.zeros_like(SCENE)
    health.look(cap, at(0))
    health.look(cap, at(41))
    assert health.covered_since is None
    for second in range(42, 45):
        health.look(cap, at(second))
    assert health.covered_since == at(41)


def test_a_new_connection_begins_anew() -> None:
    health = PictureHealth(frozen_after_s=3)
    cap = np.zeros_like(SCENE)
    for second in range(4):
        health.look(cap, at(second))
    assert (health.frozen_since, health.covered_since) == (at(0), at(0))
    health.connected()
    assert (health.frozen_since, health.covered_since) == (None, None)
    health.look(cap, at(4))
    assert (health.frozen_since, health.covered_since) == (None, None)


@pytest.mark.parametrize("apart_s", [4.0, 0.5])
def test_pictures_that_come_as_far_apart_as_they_are_meant_to_are_no_gap(apart_s: float) -> None:
    """The still mode decodes only the key frames of an encoder that is frozen."""
    health = PictureHealth(frozen_after_s=30)
    seconds = 0.0
    while seconds <= 30 + apart_s:
        health.look(SCENE, at(seconds))
        seconds += apart_s
    assert health.frozen_since == at(0)
