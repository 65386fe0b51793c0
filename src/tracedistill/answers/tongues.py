"""Whether a text is written in a language that puts a comma before decimals and a point between thousands."""

from __future__ import annotations

import re

from tracedistill.answers.quantities import Quantity
from tracedistill.answers.words import word_set

_WORD = re.compile(r"[^\W\d_]+")
_ENGLISH = word_set("the of and to each is are they she he that for has have with each answer therefore so per")
_OTHERS = word_set(
    # German
    "der das ist sind und ein eine einen für kostet kosten insgesamt antwort mit von sie er es pro beträgt also ergibt "
    "jeder jede bleiben ergebnis am zum im "
    # Spanish, Portuguese
    "el los las del que y en una cada cuesta cuestan son por para respuesta tiene gasta quedan entonces cuánto es "
    "os do da são um uma custa custam resposta tem fica por cada "
    # French, Italian
    "le les des est sont une et pour dans coûte coûtent au réponse donc il elle chaque reste "
    "gli della è sono costa costano risposta ogni quindi ha "
    # Dutch, Polish, Turkish, Indonesian
    "la lo il los mide mesure misura mede pesa pèse wiegt metros mètres metri metra metry litros litri heures horas "
    "stunden "
    "minuten minutos tiene hay longueur länge misst ma "
    "het een kost antwoord dus jest są kosztuje odpowiedź każdy toplam cevap harga adalah jadi"
)
_CYRILLIC = re.compile(r"[а-яё]{2}", re.IGNORECASE)
_POINT = re.compile(r"\D{0,6}\d{1,3}\.\d{3}\D{0,6}")


def has_decimal_comma(text: str) -> bool:
    """Return whether a text is in such a language: two of its small words or more, and fewer English ones."""
    words = _WORD.findall(text[-2000:].lower())
    others = sum(word in _OTHERS for word in words)
    english = sum(word in _ENGLISH for word in words)
    return (
        (others > 1 and others > 2 * english)
        or (others > 0 and not english)
        or (not english and _CYRILLIC.search(text[-2000:]) is not None)
    )


def in_points(text: str, quantity: Quantity, comma: bool) -> Quantity:
    """Return a quantity as such a language means it: `2,5` is certain, and `12.500` (or `12.500 €`) is 12500."""
    if comma and quantity.unsure:
        return quantity._replace(unsure=False)
    written = text[quantity.start : quantity.end]
    if "." in written and not quantity.unsure and _POINT.fullmatch(written) and (comma or written.rstrip()[-1:] == "€"):
        return quantity._replace(value=quantity.value * 1000)
    return quantity
