"""What holds for every test: nothing that it draws has to be ready within a time."""

from hypothesis import HealthCheck, settings

# Hypothesis gives each example 200 ms by default: a busy machine needs more now and then, and the test is red.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("unhurried")
