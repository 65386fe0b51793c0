"""What a study leaves behind, as folders to keep, load and publish: its datasets, its adapters, its merged models.

place     a folder that appears whole or not at all
card      Markdown with a YAML head, as hubs read it
licences  where problems come from, and on what terms
origin    what every card says: the source, the teacher, what was rejected, versions
rows      SFT rows as TRL takes them, in Parquet and JSON Lines
dataset   every tuned arm's rows with a card
weights   an adapter merged into its base, checked against the adapter kept apart
model     the merged model or the adapter with a card
hub       the same on a model hub
"""
