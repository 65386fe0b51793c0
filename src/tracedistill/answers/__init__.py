"""The answer out of a text, and whether two answers are the same; every call is bounded in time and memory.

policy      what counts as the same answer; what was read
region      the part of an output that holds the answer
judging     read_answer, read_derived, judge: the public readers
equality    equal: text, numbers, then formulas
formulas    formulas: as written, by structure, by the symbolic worker, token by token
extract     the number of the final statement and of the body
expressions the formula of the final statement; prose: one in plain words
choices     the letter of the final statement; choice_labels, choice_names, choice_patterns: labels, names, patterns;
            choice_lists: verdicts on each, several denied, one taken back
stating     whether a statement states a text answer
marks       what marks an answer, in many languages, and which marks bind
asides      statements beside the answer: checks, notes, offers, other ways
hedges      what is named without being stated: denials, parts of formulas; bounds; pairs: choices, ranges
denials     how other languages than English deny a name or number
statements  sentences from the end backwards; what marks a final one
mentions    which number of a statement is meant
asked       what the question asks for
canonical   dates and rates in one spelling; written: numbers in words, days, names in any order as the gold has them
label_lists `II and III`, `A and C`; label_lines: `City: Berlin` among other labels, an item a line
places      where somebody was before
refuted     what a text names only to refute it, strikes out, or gives as what others think
behind      the unit behind a number, beside another unit
quantities  numbers with units in running text; words: numbers in words; units: conversions; measures: contradictions
latex       one spelling of LaTeX; notation: Unicode and plain text as LaTeX; shapes: tuples, sets, intervals, names
wording     words in one form, with operators and signs
cleaning    typography made plain
symbolic    the guarded worker process; worker: what runs in it
"""

from tracedistill.answers.canonical import is_day
from tracedistill.answers.equality import equal
from tracedistill.answers.formulas import UNREAD_ANSWER, UNREAD_GOLD
from tracedistill.answers.judging import judge, read_answer, read_derived
from tracedistill.answers.policy import NUMBER, AnswerPolicy, Extracted

__all__ = [
    "NUMBER",
    "UNREAD_ANSWER",
    "UNREAD_GOLD",
    "AnswerPolicy",
    "Extracted",
    "equal",
    "is_day",
    "judge",
    "read_answer",
    "read_derived",
]
