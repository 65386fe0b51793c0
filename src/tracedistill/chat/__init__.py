"""Chat: how trace and answer stand in one completion, prompt texts, and messages as tokens."""
