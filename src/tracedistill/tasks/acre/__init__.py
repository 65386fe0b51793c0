"""Task `acre`: its panels, what they prove, and the task itself."""
