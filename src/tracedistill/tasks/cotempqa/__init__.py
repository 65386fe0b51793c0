"""Task `cotempqa`: its gold by interval arithmetic, its published metric, and the task itself."""
