"""The page on which a person reads, corrects and approves traces before they are used.

store      SQLite: traces, what each reviewer said of them, every action
work       one reviewer's edits and decisions on one trace; undo; refused where somebody was quicker
queue      filters, the seeded sample, next and previous
drafts     edited lines back into a trace, judged by the same judges as everywhere
outcomes   what the reviews come to, for the pipeline: reviewed_of, revision, remaining
agreement  percent agreement, Cohen's kappa, Krippendorff's alpha
sheet      the queue as a spreadsheet, there and back
rating     traces of several kinds on Likert scales; reading: whose error a failed attempt is
guard, app, server    the page itself: loopback, a token in the address, no request to any other host
"""
