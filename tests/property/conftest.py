"""How many examples hypothesis tries: 100, in CI 300 that are always the same, many with HYPOTHESIS_PROFILE=long."""

import os

from hypothesis import HealthCheck, settings

COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}  # a busy machine is not a fault
settings.register_profile("quick", max_examples=100, **COMMON)
settings.register_profile("ci", max_examples=300, derandomize=True, print_blob=True, **COMMON)
settings.register_profile("long", max_examples=20_000, **COMMON)
IN_CI = os.environ.get("NDPRESPONDER_REQUIRE_ALL") == "1"
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if IN_CI else "quick"))
