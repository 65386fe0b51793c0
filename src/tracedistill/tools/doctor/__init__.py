"""What this machine has, and what a recipe would need of it: looked at, never changed; seconds, and no model loaded.

machine  cores, memory, disk, GPU, versions, hub, keys by name, browser
needs    a recipe's weights, memory, time, data, keys and hardware, held against that
"""
