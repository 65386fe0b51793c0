"""Task `babi`: its stories, files, trace grammar and rules, and the task itself."""
