"""Forecast of a study from a machine's measured speed: memory, time, rows, tokens."""
