r"""Mathematics in Unicode and plain text as LaTeX: `5r⁵`, `√3/2`, `7*sin(pi*x/5)`, `½x`, `x_{1}`, `\color{red}{2}`."""

from __future__ import annotations

import re

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ", "0123456789+-=()ni")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₙᵢ", "0123456789+-=()ni")
_RAISED = re.compile(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ]++")
_LOWERED = re.compile(r"[₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₙᵢ]++")
_GLYPHS = dict(
    zip(
        "½⅓⅔¼¾⅛⅜⅝⅞⅕⅖⅗⅘⅙⅚",
        ["12", "13", "23", "14", "34", "18", "38", "58", "78", "15", "25", "35", "45", "16", "56"],
        strict=True,
    )
)
_GLYPH = re.compile("[" + "".join(_GLYPHS) + "]")
_SIGNS = {
    "π": r"\pi ", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "φ": r"\phi ", "λ": r"\lambda ",
    "μ": r"\mu ", "σ": r"\sigma ", "ω": r"\omega ", "Δ": r"\Delta ", "ε": r"\epsilon ", "ρ": r"\rho ", "τ": r"\tau ",
    "∞": r"\infty ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∉": r"\notin ", "∅": r"\emptyset ",
    "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}", "ℂ": r"\mathbb{C}",
    "±": r"\pm ", "∓": r"\mp ", "×": r"\cdot ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/", "≤": r"\leq ", "≥": r"\geq ",
    "≠": r"\neq ", "≈": r"\approx ", "⟨": r"\langle ", "⟩": r"\rangle ", "〈": r"\langle ", "〉": r"\rangle ",
    "∖": r"\setminus ", "≡": r"\equiv ", "→": r"\to ", "∣": "|", "′": "'", "⁄": "/", "∕": "/", "−": "-", "∛": r"\cbrt ",
    "（": "(", "）": ")", "，": ",", "＝": "=", "；": ";", "｛": "{", "｝": "}",
    "＋": "+", "∙": r"\cdot ", "•": r"\cdot ",
}  # fmt: skip
_SIGN = re.compile("[" + re.escape("".join(_SIGNS)) + "]")
_ROOT = re.compile(r"(√|\\cbrt\s)\s*(?:(?=\()|(\d++(?:\.\d++)?|[A-Za-z]|\\pi))")
_CALLED = r"arcsin|arccos|arctan|sin|cos|tan|cot|sec|csc|sinh|cosh|tanh|log|ln|exp|max|min|gcd|lcm"
_FUNCTION = re.compile(rf"(?<![\\A-Za-z])({_CALLED})(?=\s*[(\d\\^_{{]|\s+[a-zA-Z]\b)")
_CONSTANT = re.compile(r"(?<![\\A-Za-z{])(pi|theta|alpha|beta|infinity|infty|oo)(?![A-Za-z}])")
_CALL = re.compile(r"(?<![A-Za-z])(\\?sqrt|\\?cbrt)\s*\(")
_POWER = re.compile(r"\^\s*\(")
_DIGITS_UP = re.compile(r"\^\s*(-?\d{2,}+|-\d|-[a-zA-Z])(?![\d.])")
_UNION = re.compile(r"(?<=[)\]])\s{0,3}[Uu]\s{0,3}(?=[(\[])")
_BASE = re.compile(r"_\s*\{\s*(\w)\s*\}")
_COLOR = re.compile(
    r"\\color\s*\{[^{}]{0,40}\}\s*|\\color\s*\[[^\]]{0,9}\]\s*\{[^{}]{0,40}\}\s*|\\textcolor\s*\{[^{}]{0,40}\}\s*"
    r"|\\color\s+[a-z]{1,12}\s"
)
_DRESS = re.compile(
    r"\\(?:underline|overbrace|underbrace|mathbf|boldsymbol|bm|mathit|mathsf|mathbin|mathrel|hbox|displaystyle"
    r"|textstyle|scriptstyle|nonumber|hfill|limits|bf|rm|it|tt|,|!|;|:|>)(?![a-zA-Z])"
)
_ROW = re.compile(r"\\\\\s*\[\s*-?[\d.]{1,6}\s*[a-z]{2}\s*\]")
_UPRIGHT = re.compile(r"\\(?:mathrm|text|operatorname)\s?\{\s?([eid])\s?\}")
_LOGE = re.compile(r"\\log\s*_\s*\{?\s*(?:e|\\mathrm\{e\})\s*\}?(?![a-zA-Z])")
_LOGBASE = re.compile(r"\\log\s*_\s*(\d|[a-zA-Z](?![a-zA-Z]))(?!\})")
_FRACTION = re.compile(r"\\[dtc]?frac(?![a-z])\s*")
_GROUPED = re.compile(r"(?<![\d.,])\d{1,3}(?:(?:,\\!|\{,\}|\\,|,)\d{3})++(?![\d,])")
_THIN = re.compile(r"(?<=\d)(?:\{,\}|,\\!|\\,)\s{0,3}(?=\d{3}(?!\d))")
_SEPARATOR = re.compile(r",\\!|\{,\}|\\,|,")
_SPREAD = 2000
"""Longer texts are unchanged: notation does not decide an answer of that length."""


def as_latex(text: str) -> str:
    """Return the text with Unicode signs, plain functions, short fractions and mere dressing written as plain LaTeX."""
    if len(text) > _SPREAD:
        return text
    if not text.isascii():
        text = _GLYPH.sub(lambda match: r"\frac{{{}}}{{{}}}".format(*_GLYPHS[match.group()]), text)
        text = _RAISED.sub(lambda match: "^{" + match.group().translate(_SUPERSCRIPTS) + "}", text)
        text = _LOWERED.sub(lambda match: "_{" + match.group().translate(_SUBSCRIPTS) + "}", text)
        text = _SIGN.sub(lambda match: _SIGNS[match.group()], text)
        text = _ROOT.sub(_rooted, text)
    if "\\" in text:
        text = _THIN.sub(",", text)
        text = _ROW.sub(r"\\\\", text)
        text = _COLOR.sub("", text)
        text = _DRESS.sub(" ", text)
        text = _UPRIGHT.sub(r"\1", text)
        text = _LOGE.sub(r"\\ln ", text)
        text = _LOGBASE.sub(r"\\log_{\1} ", text)
        text = _fractions(text)
    text = _UNION.sub(r" \\cup ", text.replace("**", "^"))
    text = _FUNCTION.sub(r"\\\1", text)
    text = _CONSTANT.sub(lambda match: {"oo": r"\infty ", "infinity": r"\infty "}.get(match[1], f"\\{match[1]} "), text)
    text = _grouped_call(text, _CALL, lambda match: r"\sqrt{" if "sqrt" in match[1] else r"\sqrt[3]{")
    text = _grouped_call(text, _POWER, lambda _: "^{")
    text = _DIGITS_UP.sub(r"^{\1}", text)
    return _BASE.sub(r"_\1", text)


def ungrouped(text: str) -> str:
    """Return digits without their thousands separators: for one expression, in which no comma separates parts."""
    return _GROUPED.sub(lambda match: _SEPARATOR.sub("", match.group()), text)


def _rooted(match: re.Match[str]) -> str:
    head = r"\sqrt" if match[1] == "√" else r"\cbrt"
    return head if match[2] is None else f"{head}{{{match[2]}}}".replace(r"\cbrt", r"\sqrt[3]")


def _grouped_call(text: str, opening: re.Pattern[str], head: object) -> str:
    """Return parentheses after a root or power sign as braces."""
    at = 0
    for _ in range(20):
        match = opening.search(text, at)
        if match is None:
            break
        end = _close(text, match.end() - 1)
        if end < 0:
            at = match.end()
            continue
        assert callable(head)
        begin = head(match)
        text = text[: match.start()] + begin + text[match.end() : end] + "}" + text[end + 1 :]
        at = match.start() + len(begin)
    return text


def _close(text: str, start: int) -> int:
    depth = 0
    for index in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[index], 0)
        if depth == 0:
            return index
    return -1


_ARGUMENT = re.compile(r"\s*(\{|\\sqrt\s*\d|\\(?![dtc]?frac)[a-zA-Z]++|\w)")


def _fractions(text: str) -> str:
    r"""Return fractions with both arguments in braces: `\frac12`, `\frac1{72}`, `\frac\pi 2`; roots likewise."""
    for name in (r"\sqrt", "frac"):
        parts: list[str] = []
        at = 0
        pattern = _FRACTION if name == "frac" else _SQRT
        for match in pattern.finditer(text):
            if match.start() < at:
                continue
            end, arguments = match.end(), []
            for _ in range(2 if name == "frac" else 1):
                argument = _ARGUMENT.match(text, end)
                if argument is None:
                    break
                if argument[1] == "{":
                    stop = _brace(text, argument.end() - 1)
                    if stop < 0:
                        break
                    arguments.append(text[argument.end() : stop])
                    end = stop + 1
                else:
                    arguments.append(argument[1])
                    end = argument.end()
            if len(arguments) < (2 if name == "frac" else 1):
                continue
            head = r"\frac" if name == "frac" else r"\sqrt"
            parts += [text[at : match.start()], head, *("{" + _fractions(inner) + "}" for inner in arguments)]
            at = end
        text = "".join(parts) + text[at:]
    return text


_SQRT = re.compile(r"\\sqrt(?![a-z])(?=\s*(?:\d|[a-zA-Z]|\\[a-z]))\s*")


def _brace(text: str, start: int) -> int:
    depth = 0
    for index in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if depth == 0:
            return index
    return -1
