"""Export a study's datasets, adapters and merged models as folders to keep, load and publish.

folder    a folder that appears whole or not at all
card      Markdown with a YAML head, as hubs read it
licences  origin and terms of problems
origin    common parts of all cards: the source, the teachers, rejections, versions
rows      SFT rows in the format of TRL, in Parquet and JSON Lines
dataset   every tuned arm's rows with a card
weights   an adapter merged into its base, checked against the separate adapter
model     the merged model or the adapter with a card
hub       the same on a model hub
"""
