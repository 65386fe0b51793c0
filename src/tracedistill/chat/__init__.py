"""Chat: the format of trace and answer in a completion, prompt texts, and messages as tokens."""
