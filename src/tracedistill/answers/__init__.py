"""The answer out of a text, and whether two answers are the same; every call is bounded in time and memory.

policy      what counts as the same answer; what was read
judging     read_answer, read_derived, judge: the public readers
equality    equal: text, numbers, structure, then symbolic
extract     the number of the final statement and of the body
expressions the formula of the final statement
choices     the letter of the final statement
statements  sentences from the end backwards; what marks a final one
mentions    which number of a statement is meant
asked       what the question asks for
quantities  numbers with units in running text; words: numbers in words; units: conversions
latex       one spelling of LaTeX; tuples, sets, intervals
cleaning    typography made plain
symbolic    the guarded worker process; worker: what runs in it
"""

from tracedistill.answers.equality import equal
from tracedistill.answers.judging import judge, read_answer, read_derived
from tracedistill.answers.policy import NUMBER, AnswerPolicy, Extracted

__all__ = ["NUMBER", "AnswerPolicy", "Extracted", "equal", "judge", "read_answer", "read_derived"]
