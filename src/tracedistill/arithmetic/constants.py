"""General knowledge that a calculation may use without being given: 60 where minutes and hours are spoken of.

A constant links topics: 60 links minutes to hours or seconds, 7 days to weeks, 16 ounces to pounds, 4 wheels to cars.
It is licensed where question or step name *all* topics of a row, so that `every day` alone brings neither 7 nor 365.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

from tracedistill.arithmetic.expressions import Value, number

ALWAYS: frozenset[Value] = frozenset({0, 1, 2, Fraction(1, 2)})
"""Constants that need no cue: identity, pair and half."""

_TOPICS = {
    "second": r"seconds?|secs?",
    "minute": r"minutes?|mins?",
    "hour": r"hours?|hourly|hrs?|mph|km/h|o'clock|[ap]\.?m\.?",
    "clock": r"o'clock|[ap]\.?m\.?|noon|midday|midnight|\d{1,2}:\d\d",
    "day": r"days?|daily|everyday|today|tomorrow|yesterday|nights?|nightly|mornings?|evenings?|afternoons?"
           r"|breakfasts?|lunch(?:es)?|dinners?",
    "workday": r"weekdays?|(?:work|working|school|business)[ -]?(?:days?|week)|workweek|mondays?|fridays?"
               r"|school|office|commut\w+|class(?:es)?|full[- ]time|monday (?:to|through) friday",
    "week": r"(?:work)?weeks?|weekly|biweekly|weekdays?|weekends?|(?:mon|tues|wednes|thurs|fri|satur|sun)days?",
    "fortnight": r"fortnights?|bi-?weekly|two[ -]weeks?|2[ -]weeks?|every (?:other|second) week",
    "month": r"months?|monthly|bimonthly|january|february|march|april|may|june|july|august|september|october|november"
             r"|december",
    "months": r"months?|monthly|bimonthly",
    "april": r"april|june|september|november",
    "january": r"january|march|july|august|october|december",
    "february": r"february",
    "leap": r"leap",
    "year": r"years?|yearly|annual(?:ly)?|annum|birthdays?|age[ds]?|old|older|younger|anniversary|calendar",
    "decade": r"decades?",
    "century": r"century|centuries",
    "season": r"seasons?",
    "whole": r"full|whole|complete(?:ly)?|entire|round(?:s|ed|ing)?|remainder|left ?over|partial",
    "half": r"half|halves",
    "quarter": r"quarters?|quarterly",
    "money": r"cents?|\$|dollars?|coins?|change|money|¢|bills?|cash|pay|cost|costs|worth|bucks?",
    "cent": r"cents?|¢|penn(?:y|ies)|pence|paise",
    "percent": r"%|per ?cent|percent(?:age|ile)s?|discount(?:s|ed)?|tax(?:es|ed)?|interest|tip(?:s|ped)?|hundredths?",
    "penny": r"pennies|penny",
    "nickel": r"nickels?",
    "dime": r"dimes?",
    "inch": r"inch(?:es)?",
    "foot": r"feet|foot|ft|tall|height|long|length",
    "yard": r"yards?",
    "mile": r"miles?",
    "square": r"squares?|sq|area",
    "cubic": r"cubic|volume",
    "ounce": r"ounces?|oz",
    "pound": r"pounds?|lbs?",
    "ton": r"tons?",
    "tonne": r"tonnes?|metric tons?",
    "cup": r"cups?",
    "pint": r"pints?",
    "quart": r"quarts?",
    "gallon": r"gallons?",
    "tablespoon": r"tablespoons?|tbsp",
    "teaspoon": r"teaspoons?|tsp",
    "kilo": r"kilo(?:grams?|grammes?|met(?:er|re)s?|lit(?:er|re)s?|watts?|s)?|kg|km|kw|milli(?:grams?|met(?:er|re)s?"
            r"|lit(?:er|re)s?)|ml|mg|mm",
    "centimeter": r"centimet(?:er|re)s?|cm",
    "meter": r"met(?:er|re)s?|m|millimet(?:er|re)s?|mm",
    "storage": r"megabytes?|gigabytes?|mb|gb|tb|terabytes?|kb",
    "thousand": r"thousands?|k",
    "million": r"millions?",
    "billion": r"billions?",
    "rectangle": r"squares?|rectang(?:le|ular)s?|rooms?|walls?|fields?|yards?|gardens?|perimeter|sides?"
                 r"|fenc(?:e|es|ing)|borders?|frames?|square-\w+",
    "cube": r"cubes?|cubic|dice|die|box(?:es)?",
    "solid": r"cubes?|cubic",
    "face": r"faces?|sides?|surface|roll\w*|edges?|corners?|vert\w+|dice|die",
    "triangle": r"triang(?:le|ular)s?",
    "pentagon": r"pentagons?",
    "hexagon": r"hexagons?|hexagonal",
    "octagon": r"octagons?|octagonal",
    "circle": r"circles?|circular|angles?|rotat\w+|turns?|spins?",
    "degree": r"degrees?|angles?|rotat\w+|°",
    "temperature": r"fahrenheit|celsius",
    "vehicle": r"cars?|trucks?|vehicles?|wagons?|vans?|suvs?|atvs?|automobiles?|roller ?skates?|skateboards?|skates?",
    "wheel": r"tires?|wheels?",
    "tricycle": r"tricycles?",
    "unicycle": r"unicycles?",
    "stool": r"stools?|tripods?",
    "animal": r"dogs?|cats?|cows?|horses?|pigs?|goats?|sheep|lambs?|rabbits?|animals?|chairs?|tables?|elephants?|lions?"
              r"|tigers?|kittens?|pupp(?:y|ies)|deer|frogs?|turtles?|hamsters?|zebras?|bears?|bulls?|pets?|lizards?"
              r"|crocodiles?|desks?|gnomes?|poodles?|labradors?|cattle|calves|calf|ponies|pony|donkeys?|mice|rats?|camels?",
    "leg": r"legs?|feet|foot|paws?|hoo(?:f|ves)|shoes?|horseshoes?|socks?|nails?|claws?",
    "insect": r"insects?|ants?|bees?|flies|fly|butterfl(?:y|ies)|beetles?|ladybugs?|caterpillars?|bugs?",
    "spider": r"spiders?|octopus(?:es)?|octopi",
    "squid": r"squids?",
    "finger": r"fingers?|toes?|thumbs?|(?:finger|toe)nails?",
    "twin": r"twins?",
    "triplet": r"triplets?|trip(?:le[sd]?|ling)|thrice",
    "quadruplet": r"quadrupl(?:e[sd]?|ing|ets?)",
    "quintuplet": r"quintupl(?:e[sd]?|ets?)",
    "consecutive": r"consecutive",
    "dozen": r"dozens?",
    "gross": r"gross",
    "score": r"scores?",
    "alphabet": r"alphabet",
    "deck": r"decks?|suits?",
    "soccer": r"soccer|football",
    "basketball": r"basketball",
    "player": r"players?|teams?",
    "points": r"points?|scor\w+|touchdowns?|goals?|shots?|baskets?",
    "bowling": r"bowling|pins?",
    "perfect": r"perfect|strikes?",
    "inning": r"innings?|baseball",
    "golf": r"holes?|golf",
    "orchestra": r"quartets?",
    "trio": r"trios?",
    "country": r"united states|u\.?s\.?a?\.? states",
}  # fmt: skip
"""Topic -> its words, a regular expression."""

CONSTANTS: tuple[tuple[str, str], ...] = (
    # numbers, and the topics that must all be spoken of
    ("60", "minute hour"),
    ("60", "second minute"),
    ("60 3600", "second hour"),
    ("30", "half hour"),
    ("15", "quarter hour"),
    ("30", "half minute"),
    ("24", "hour day"),
    ("12", "clock"),
    ("24", "clock"),
    ("12 60", "clock hour"),
    ("7", "day week"),
    ("14", "fortnight"),
    ("5", "week workday"),
    ("365", "day year"),
    ("366", "day leap"),
    ("360", "day year"),
    ("30 31", "day months"),
    ("31", "day january"),
    ("30", "april"),
    ("28", "february"),
    ("29", "leap"),
    ("28", "day months"),
    ("4", "week month"),
    ("52", "week year"),
    ("26", "fortnight year"),
    ("12", "month year"),
    ("6", "month half"),
    ("6", "year half"),
    ("3", "month quarter"),
    ("4", "year quarter"),
    ("10", "decade"),
    ("100", "century"),
    ("4", "season"),
    ("3", "season month"),
    ("4 25 0.25", "quarter money"),
    ("15", "quarter minute"),
    ("0.01", "penny"),
    ("0.01", "money"),
    ("100", "cent"),
    ("100", "percent"),
    ("0.01", "percent"),
    ("5 0.05", "nickel"),
    ("20", "nickel money"),
    ("10 0.10", "dime"),
    ("12", "inch foot"),
    ("144", "inch foot square"),
    ("3", "yard foot"),
    ("36", "yard inch"),
    ("9", "yard foot square"),
    ("27", "yard foot cubic"),
    ("1728", "inch foot cubic"),
    ("5280", "mile foot"),
    ("1760", "mile yard"),
    ("16", "ounce pound"),
    ("2000", "ton pound"),
    ("2000", "ton"),
    ("1000", "tonne"),
    ("1000", "ton kilo"),
    ("2", "cup pint"),
    ("4", "quart gallon"),
    ("4", "cup quart"),
    ("8", "cup ounce"),
    ("8", "pint gallon"),
    ("16", "pint ounce"),
    ("16", "cup gallon"),
    ("16", "tablespoon cup"),
    ("32", "quart ounce"),
    ("64", "half gallon ounce"),
    ("128", "gallon ounce"),
    ("3", "tablespoon teaspoon"),
    ("48", "cup teaspoon"),
    ("1000", "kilo"),
    ("100", "centimeter meter"),
    ("10", "centimeter meter"),
    ("1000 1024", "storage"),
    ("1000", "thousand"),
    ("1000000", "million"),
    ("1000", "million"),
    ("1000", "billion"),
    ("4", "rectangle"),
    ("6", "cube face"),
    ("12 8", "cube face"),
    ("3", "solid"),
    ("3", "triangle"),
    ("180", "triangle degree"),
    ("5", "pentagon"),
    ("6", "hexagon"),
    ("8", "octagon"),
    ("3.14", "circle"),
    ("360 180 90", "circle degree"),
    ("32 1.8 5 9", "temperature"),
    ("4", "vehicle wheel"),
    ("4", "vehicle"),
    ("3", "tricycle"),
    ("3", "stool"),
    ("4", "animal leg"),
    ("6", "insect leg"),
    ("8", "spider"),
    ("10", "squid"),
    ("5 10 20", "finger"),
    ("3", "triplet"),
    ("4", "triplet"),
    ("4", "quadruplet"),
    ("5", "quadruplet"),
    ("5", "quintuplet"),
    ("6", "quintuplet"),
    ("3", "consecutive"),
    ("12", "dozen"),
    ("6", "dozen half"),
    ("144", "gross"),
    ("20", "score"),
    ("26", "alphabet"),
    ("52 13 4", "deck"),
    ("11", "soccer player"),
    ("3 6 7", "soccer points"),
    ("90 45", "soccer minute"),
    ("5", "basketball player"),
    ("3", "basketball points"),
    ("10", "bowling"),
    ("300", "bowling perfect"),
    ("9", "inning"),
    ("18", "golf"),
    ("4", "orchestra"),
    ("3", "trio"),
    ("50", "country"),
)
"""What links the topics; a topic alone only where its word is the number (`decade`) or always speaks of it."""

_RULES = {name: re.compile(rf"(?<![a-z])(?:{words})(?![a-z])") for name, words in _TOPICS.items()}
_SPACED = {name: rule for name, rule in _RULES.items() if re.search(r"[ .'/$¢%°\d-]|\[ -\]", _TOPICS[name])}
"""Topics that are not told by single words alone."""
_WORD = re.compile(r"[a-z]+")
_LINKS = tuple(
    (frozenset(number(text)[0] for text in numbers.split()), frozenset(topics.split())) for numbers, topics in CONSTANTS
)


@lru_cache(maxsize=16_384)
def topics_of(text: str) -> frozenset[str]:
    """Return the topics that a text speaks of; at most 20,000 characters are read."""
    lower = text[:20_000].lower()
    spaced = (name for name, rule in _SPACED.items() if rule.search(lower))
    return frozenset(spaced).union(*map(_topics_of_word, set(_WORD.findall(lower))))


@lru_cache(maxsize=16_384)
def _topics_of_word(word: str) -> frozenset[str]:
    return frozenset(name for name, rule in _RULES.items() if rule.fullmatch(word))


@lru_cache(maxsize=16_384)
def licensed(topics: frozenset[str]) -> frozenset[Value]:
    """Return constants that link topics, those that need none left out."""
    return frozenset().union(*(numbers for numbers, wanted in _LINKS if wanted <= topics))


def is_converted(value: Value, unit: str, numbers: Sequence[Value], topics: frozenset[str]) -> bool:
    """Return whether a value counts in `unit` what one of the numbers counts in another: 15 weekdays are 3 weeks.

    `topics` are those of question and steps; the constant must link the unit to one of them.
    """
    own = topics_of(unit)
    if not own:
        return False
    for constants, linked in _LINKS:
        if own & linked and len(linked) > 1 and linked <= topics | own and "workday" not in own - linked:
            for constant in constants:
                if constant not in ALWAYS and value / Fraction(constant) in numbers:
                    return True
    return False


def cued(text: str, beside: frozenset[str] = frozenset()) -> frozenset[Value]:
    """Return constants that a text calls for, together with the topics of what stands beside it (its question)."""
    return licensed(topics_of(text) | beside)
