"""What a study would take, from a machine's measured speed: memory, time, rows, tokens."""
