"""Check this machine, and what a recipe needs of it, in seconds; nothing is changed and no model is loaded.

machine       cores, memory, disk, GPU, versions, hub, keys by name, browser
requirements  weights, memory, time, data, keys and hardware of a recipe, compared with the machine
"""
