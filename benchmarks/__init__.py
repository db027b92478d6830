"""Speed, measured against what others use: `python -m benchmarks` (or `make bench`)."""
