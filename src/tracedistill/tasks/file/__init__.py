"""What task `file` is made of: cells, columns, choices, chats, splits, and the rule by which answers are judged."""
