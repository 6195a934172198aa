"""How hypothesis draws: few inputs and always the same, so that a change is judged by itself, not by the day's luck.

With ``ANE_HARNESS_FUZZ`` set to a number, which `tox -e nightly` does, as many of each kind, and others each time.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

LONG = os.environ.get("ANE_HARNESS_FUZZ", "")
settings.register_profile("gate", derandomize=True)
if not LONG:
    settings.load_profile("gate")


def fuzz(usual: int, deadline: int | None = 10_000) -> settings:
    """Return the settings of a test of hostile input.

    Parameters
    ----------
    usual: how many inputs where ``ANE_HARNESS_FUZZ`` is not set.
    deadline: milliseconds after which one input counts as a hang.
    """
    slow = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
    return settings(max_examples=int(LONG or usual), deadline=deadline, suppress_health_check=slow, database=None)
