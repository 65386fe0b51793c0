"""Tools around a run: grade and import outputs, audit golds, make recipes, chat, export, check the machine."""
