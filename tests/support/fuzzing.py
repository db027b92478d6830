"""How many inputs a fuzz test tries: few fixed ones by default, `BEFT_FUZZ=20000` for a search.

The default draws the same inputs every time. A search draws others, and prints the one that fails.
"""

import os

from hypothesis import HealthCheck, settings

COUNT = int(os.environ.get("BEFT_FUZZ", "0"))

# The settings of a fuzz test: `@given(...)` below `@fuzzed`.
fuzzed = settings(
    max_examples=COUNT or 40,
    derandomize=not COUNT,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
