"""tracedistill: distil a teacher's decomposition traces into a small student, and measure what the trace was worth."""

__version__ = "0.1.0"
