"""The page on which a person reads, corrects and approves traces before they are used.

store         SQLite: traces, every reviewer's decisions, every action
trace_review  one reviewer's edits and decision on one trace; undo; conflicts
queue         filters, the seeded sample, next and previous
drafts        edited lines back into a trace, judged by the same judges as everywhere
outcomes      results of the reviews, for the pipeline: reviewed_of, revision, remaining
agreement     agreement of reviewers
sheet         the queue as a spreadsheet
rating        traces of several kinds on Likert scales
error_labels  who made the error in a failed attempt, by a person
session, app, card_pages, access, server    the page itself: loopback, a token in the address, no other host
"""
