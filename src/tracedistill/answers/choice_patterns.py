"""What marks, settles, denies and joins choices in a text: the patterns of `choices`."""

from __future__ import annotations

import re

from tracedistill.answers.denials import AHEAD, BEHIND
from tracedistill.answers.refuted import REFUTED
from tracedistill.answers.words import DOUBT, word_set

BOX = re.compile(r"\\(?:boxed|fbox)\s{0,4}\{")
CHOICE_MARK = re.compile(
    r"\b(?:correct|right|best|final|chosen|selected|most (?:likely|accurate|appropriate))\s(?:option|choice|letter"
    r"|one|alternative|statement)s?\b"
    r"[\s*_\"']{0,4}(?:is|was|would be|:|=)[\s:*_\"'(]{0,8}"
    r"|(?:(?<=\n)|\A)[\s*_#>-]{0,6}(?:option|choice|letter|selection|pick|prediction"
    r"|label|correct)[\s*_\"']{0,4}[:=][\s:*_\"']{0,8}"
    r"|[\"'](?:choice|option|label|letter|prediction|selected|final_answer|selection)[\"']\s?:\s?[\"']?"
    r"|(?<![会能误错多人不别])(?:正确选项|应选|故选|选择|答案选|选(?!项|择))(?:是|为|:)?\s{0,3}"
    r"|(?:选项|選択肢)(?:是|为|:|は)\s{0,3}"
    r"|\b(?:opción|opcion|alternativa|opzione|option) (?:correcta|correta|corretta|correcte)\s(?:es|é|è|est"
    r"|:)?[\s:*]{0,4}"
    r"|\b(?:i(?:['’](?:d|ll)| would| will)?|we(?:['’](?:d|ll)| would| will)?)"
    r" (?:pick|choose|chose|select|go with|opt for)[\s:*_\"'(]{0,8}"
    r"|\bmy (?:pick|choice|selection|guess|vote) is[\s:*_\"'(]{0,8}"
    r"|правильный (?:вариант|ответ)\s?[-—–:]?\s{0,3}|richtig ist\s{0,3}"
    r"|\b(?:doğru )?(?:cevap|yanıt|seçenek|şık)[\s:*_\"'(]{1,6}(?=[A-Za-z0-9]\b)",
    re.IGNORECASE,
)
SETTLES = re.compile(
    r"\b(?:only|clearly|definitely|obviously|certainly|probably|surely|must be|has to be|should be|would be|will be"
    r"|is definitely|is clearly|is|it's|that['’]s|be|pick|choose|chose|select"
    r"|selected|choosing|picking"
    r"|selecting|go with|going with|going for|opt for|answer|answering|say|saying|settle on|leaves|leaving|left with"
    r"|remains|conclude|favou?rs?"
    r"|points to|matches|corresponds to|causes|results in|leads to|produces|therefore|so|thus|hence|option"
    r"|choice|sino|sondern|c['’]est|melainkan|mà là|lecz|utan|maar|mais|а)\b[\s,:*_\"'(]{0,6}(?:us with\s|only\s"
    r"|with\s|option\s|choice\s|answer\s|letter\s)?"
    r"[\s*_\"'(]{0,4}\Z",
    re.IGNORECASE,
)
LABEL_FIRST = re.compile(r"\s{0,9}[*(]{0,3}([A-Z])[).:]{1,2}[*]{0,2}\s{1,4}(?=[A-Z])")
LABEL_LATER = re.compile(r"(?:[.;!?]\s|\n)[\s*(-]{0,6}[A-Z][).:]{1,2}[*]{0,2}\s")
TICKED = re.compile(
    r"^[\s*•>(-]{0,9}([A-Za-z])[).:*]{1,3}\s[^\n✗✘❌]{0,200}"
    r"(?:[✅✓✔☑]|[-–—:(]\s{0,3}(?:the\s)?(?:correct|right|true)\b)[^\n]{0,80}$",
    re.MULTILINE,
)
CROSSED = re.compile(
    r"^[\s*•>(-]{0,9}[A-Za-z][).:*]{1,3}\s[^\n]{0,200}(?:[✗✘❌]|\bincorrect\b|\bwrong\b)", re.MULTILINE
)
WRONG = re.compile(r"\b(?:wrong|incorrect|not|false|no)\b", re.IGNORECASE)
CHOSEN = re.compile(
    r"\b(?:only|pick|choose|chose|select|go with|going with|opt for|answer is|must be"
    r"|(?:has|have|had|got|ought) to be|so it's|so it is)[\s:*_\"'(]{1,6}\Z",
    re.IGNORECASE,
)
THOUGHT = re.compile(r"\b(?:thought|assumed|guessed|believed|suspected)\b[^.;,]{0,28}\Z", re.IGNORECASE)
PROVEN = re.compile(
    r"[\s)*_\"'.:,]{0,6}(?:is|are|seems|looks|appears|fits|must be|would be|it is\b|makes the most sense|works"
    r"|remains)\s?"
    r"(?:(?:the|a|an|to be|most|likely|definitely|clearly|therefore|thus|obviously)\s){0,4}"
    r"(?:correct|right|best|answer|true|only|one|most|good|better|appropriate|accurate|valid|choice|option|\Z|[.!])?",
    re.IGNORECASE,
)
NOT_BEFORE = re.compile(
    r",\s{0,3}not\s(?!only\b|just\b)(?:(?!\bbut\b|\brather\b)[^.;:]){0,60}\Z|"
    r"\b(?:wrong|incorrect|false|out|eliminated|excluded)\b,?\s(?:and|as)\s(?:so\s)?(?:is|are|does|do|can)\s[(*_\"']{0,3}\Z|"
    r"\b(?:" + DOUBT + r"|do(?:es)?n['’]t (?:think|believe)|do(?:es)? not (?:think|believe)|unlikely)\b[^.;,]{0,30}\Z|"
    r"(?:\b(?:not|never|neither|nor|rather than|instead of|than|except|unlike|besides|other than|aside from"
    r"|eliminat\w{0,24}|ruled? out|ruling out"
    r"|rules out|exclud\w{0,24}|reject\w{0,24}|discard\w{0,24}|dismiss\w{0,24}|cannot be|without|against|over|wrong"
    r"|incorrect)"
    rf"|n['’]t|{AHEAD})(?:\s{{0,3}}(?:be|been|to|option|choice|answer|letter|the|a|an|it|is|for|with|by|from|in"
    r"|on|of|due|because|through"
    r"|its|their|his|her|both|either"
    r"|[:(*\"'_])){0,6}[\s(*\"'_:]{0,6}\Z",
    re.IGNORECASE,
)
RANKED = re.compile(
    r"\b(?:(?:second|2nd|third|3rd|next)[\s-](?:best|choice|place|most likely|likeliest|pick|guess|option)"
    r"|runner[\s-]?up"
    r"|worst|least (?:likely|plausible|suitable)|close second)(?:\s(?:answer|choice|option|pick|guess|one))?"
    r"[\s*_]{0,4}(?:is|would be|:|=|-|goes to)?[\s*_(\"']{0,6}(?:option\s|choice\s)?[(*_]{0,3}\Z",
    re.IGNORECASE,
)
"""What ranks a choice behind another one: `Second best: D`."""
AUX = r"(?:is|are|was|were|can|could|would|does|do|did|has|have|seems?|looks?|must|should|will|may|might)"
NOT_AFTER = re.compile(
    r"[\s)*_\"'.,:]{0,6}(?:(?:which|that|it|this|also|both|all|choice|option)\s){0,2}"
    rf"(?:{AUX}\s?(?:be\s)?(?:also\s|clearly\s|both\s|all\s|simply\s|probably\s|definitely\s)?(?:not\b(?! only)"
    rf"|n['’]t\b|never\b)"
    rf"|(?:{AUX}\s?)?(?:be\s)?(?:also\s|clearly\s|both\s|all\s|simply\s|probably\s|definitely\s)?(?:be\s)?"
    r"(?:the\s|an?\s)?(?:incorrect|wrong|false|eliminated|ruled out|excluded|unlikely|impossible|irrelevant|too\b)"
    r"|(?:can|wo)(?:not|['’]t)\b|(?:is|are)(?: all)? out\b|fails?\b|不对|错|不正确|不是|не\b"
    rf"|[^\W\d_a-zA-Z]{{0,6}}?\s?{BEHIND}|" + REFUTED + r")",
    re.IGNORECASE,
)
ANSWERS = re.compile(
    r"[\s)*_\"']{0,6}(?:\([^()\n]{1,60}\)\s)?(?:is|must be|has to be)\s(?:(?:clearly|definitely|therefore|thus"
    r"|obviously)\s)?"
    r"(?:(?:the|my|our)\s(?:(?:right|correct|best|final|only|actual|true|real)\s){0,2}(?:answer|choice|option|one|pick)"
    r"|correct|right)\b",
    re.IGNORECASE,
)
"""What makes the choice before it the answer, beside another: `C is tempting; B is the answer`."""
JOINED = re.compile(
    r"[\s)*_\"'.]{0,6}(?:,|/|&|\band\b|\bor\b|\bas well as\b|\boder\b|\bund\b|\bo\b|\by\b|\bou\b|\bet\b|或|和|または"
    r"|и\b|или\b)[\s(*_\"']{0,6}"
    r"(?:(?:or|and|both|maybe|perhaps|possibly|either|option|choice|the|a|an)\s){0,3}[(*_\"']{0,3}\Z",
    re.IGNORECASE,
)
OR = re.compile(
    r"[\s)*_\"'.,]{0,6}(?:/|\bor\b|\boder\b|\bo\b|\bou\b|或者?|还是|または|か|또는|\bили\b)[\s(*_\"']{0,6}"
    r"(?:(?:maybe|perhaps|possibly|even|else|option|choice|选项)\s?){0,2}[(*_\"']{0,3}\Z",
    re.IGNORECASE,
)
EITHER = re.compile(r"\b(?:either|both|neither|between)\s[^.]{0,20}\Z", re.IGNORECASE)
DRESS = re.compile(
    r"[\s:*_\"'`(\[«“-]*+(?:(?:the|an?|option|choice|letter|answer|is|definitely|clearly|number"
    r"|probably|most likely|la|el|le|il|lo|o|die|der|das|het|lettre|letra|lettera|buchstabe|opción|opção|opzione"
    r"|antwort|réponse|respuesta|risposta|resposta|вариант|буква|ответ)\b\s*+[\s:*_\"'`(\[]*+)*",
    re.IGNORECASE,
)
NAMED_LETTER = word_set(
    "vitamin hepatitis plan group point class type grade team box block figure part section step blood"
)
CONCEDED = re.compile(
    r"\b(?:although|though|while|whereas|unlike|even if|despite|contrary to)\b[^,.;:]{0,50}\Z", re.IGNORECASE
)
"""What is conceded before the main clause: `Although C sounds right, it is the shark.`"""
CONCLUDED = re.compile(
    r"(?:[:;→–—]|->|=>|\b(?:so|hence|thus|therefore)(?: it(?:['’]s| is))?:?)[\s*_\"'(]{0,6}\Z", re.IGNORECASE
)
CROSSES = re.compile("[❌✗✘🚫⛔👎]")
LED = re.compile(
    r"\A[\s*_]{0,4}(?:actually|so|hence|thus|therefore|then|clearly|okay|ok|well|definitely|probably|obviously),?[\s*_\"'(]{1,6}\Z"
    r"|(?:[:;→⇒–—➡]|->|=>|\s-)\ufe0f?[\s*_\"'(]{0,6}\Z",
    re.IGNORECASE,
)
LISTED = re.compile(r"\A[\s*]{0,6}\d{1,2}[.)]\s")
REASONED = re.compile(
    r"[*_)]{0,3}(?:\s?[—–]\s|\s-\s|,?\s(?:because|since|as|for|not|rather than|instead of|unlike)\b"
    r"|,\s(?:no doubt|no question|without (?:a )?doubt|of course|obviously|clearly|definitely|certainly)\b)"
)
"""What follows a letter that opens a text: its reason."""
LEFT_OPEN = re.compile(r"\b(?:do|does|did|ca|wo|could|would)n['’]t:\s{0,3}[*_(]{0,3}\Z", re.IGNORECASE)
"""`It would fit if tadpoles counted, but they don't: B` denies nothing behind the colon."""
ANSWER_TABLE = re.compile(
    r"^[ ]{0,3}(?P<head>\|[^\n]{3,200})\n[ ]{0,3}\|[-:| ]{3,80}\n"
    r"[ ]{0,3}(?P<row>\|[^\n]{3,300})(?:\n(?![ ]{0,3}\|)|\Z)",
    re.MULTILINE,
)
"""A table of one row."""
