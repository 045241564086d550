"""What holds for every test: nothing that it draws has to be ready within a time, and those that last longest begin."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Hypothesis gives each example 200 ms by default: a busy machine needs more now and then, and the test is red.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("unhurried")

LONGEST = ("journeys", "daemon/services/test_machine.py", "daemon/api/test_openapi.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file goes to one of several workers as a whole: with a long one at the end the others would stand idle."""
    long = [Path(__file__).parent / name for name in LONGEST]
    items.sort(key=lambda item: not any(item.path.is_relative_to(path) for path in long))
