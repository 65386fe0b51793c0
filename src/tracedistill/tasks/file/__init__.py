"""Parts of task `file`: cells, columns, choices, chats, splits, and the choice of the judge."""
