"""Calculations written as code: `total = 3 * 12  # 36` becomes `3 * 12 = 36`, `left = total - 4` `36 - 4 = 32`.

Names stand for the values assigned to them. Results are claimed in comments, by `print` with the output below, or in a
Python prompt. Nothing is run: expressions of numbers, names and arithmetic are evaluated exactly.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

_CODE = re.compile(
    r"^>>> |^In ?\[\d+\]: |^`\w+ = "
    r"|\bprint\(|^def \w+\(|^return |^```|^\w+ ?(?:[-+*/]|//)= ?[\w.]|^[a-z]+_\w+ = |^\w+ = [^#=]*#"
    r"|^(?:int|float|double|let|const|var|long) \w+ = |^\w+ = [^=;]*; ?(?://|$)",
    re.MULTILINE,
)
"""Signs that lines are code."""
_NAMED = re.compile(r"^([A-Za-z_]\w+) = ", re.MULTILINE)
_ASSIGNED = re.compile(
    r"(?:(?:int|float|double|let|const|var|long|final) )?([A-Za-z_]\w*)(?:: ?\w+)? ?([-+*/]|//)?= ?([^=].*)"
)
_DEFINED = re.compile(r"def (\w{1,40})\([^()]{0,80}\)(?: ?-> ?\w{1,20})?: ?")
_SEVERAL = re.compile(
    r"([A-Za-z_]\w*(?:, ?[A-Za-z_]\w*){1,9}) ?= ?(\d{1,15}(?:\.\d{1,6})?(?:, ?\d{1,15}(?:\.\d{1,6})?){1,9})"
)
_BRANCH = re.compile(r"(?:for|while|if|elif|else|try|with|import|from)\b.*:?$")
_CLAIM = re.compile(
    r"(?:=>|->|→|==?|≈)? ?(?:(?:now|is|it is|output|result|prints?|gives|total|returns?|answer)\b:? ?){0,2}=? ?"
    r"[$£€]?(?P<number>-?\d[\d,]*(?:\.\d+)?)(?P<words>(?: ?[A-Za-z$%€'’-]{1,20}){0,6})[.!]?",
    re.IGNORECASE,
)
_OUTPUT = re.compile(
    r"(?:Out ?\[\d+\]: ?|# ?)?(?:[A-Za-z ]{1,30}[:=]? ?)?[$£€]?(-?\d[\d,]*(?:\.\d+)?)(?: [A-Za-z ]{1,30})?[.]?"
)
_PROMPT = re.compile(r"(?:>>>|\.\.\.|In ?\[\d+\]:) ")
_PRINTED = re.compile(r"[^\d=]{0,40}?(?P<number>-?\d[\d,]*(?:\.\d+)?)(?P<words>[^\d=]{0,40})")
_QUOTED = re.compile(
    r"(?:[A-Za-z]{1,12},? )?`([^`]{1,200})` (?:gives|is|returns|evaluates to|equals|yields|prints|→|=) "
    r"([$£€]?\d[\d,.]*[^\d]{0,30})"
)
_MAX_EXPRESSION = 300
_MAX_BITS = 2_000
_FUNCTIONS: dict[str, Callable[[Fraction], Fraction]] = {
    "int": lambda value: Fraction(math.trunc(value)),
    "round": lambda value: Fraction(round(value)),
    "floor": lambda value: Fraction(math.floor(value)),
    "ceil": lambda value: Fraction(math.ceil(value)),
    "float": lambda value: value,
    "abs": abs,
    "str": lambda value: value,
}


_FRAME = re.compile(
    r"```\w*|(?:int |float |let |const |var )?[A-Za-z_]\w* ?= ?-?[\d.]+;?(?: ?(?:#|//).*)?|import .*|def .*:"
)


def is_frame(text: str) -> bool:
    """Return whether a line of code cannot calculate: a fence, a number that is given a name."""
    return _FRAME.fullmatch(text) is not None


class _Unsupported(Exception):  # noqa: N818
    """An expression or line that is not evaluated here."""


@dataclass
class _Machine:
    """Values of names, and what was printed last."""

    names: dict[str, Fraction] = field(default_factory=dict)
    functions: dict[str, Fraction] = field(default_factory=dict)
    function: str = ""
    shown: Fraction | None = None
    """A value whose output may follow."""


def as_sums(texts: Sequence[str]) -> tuple[list[str], dict[int, tuple[str, ...]]]:
    """Write lines of code as calculations, and name the lines that calculate but cannot be read.

    Lines that are no code stay.
    """
    joined = "\n".join(texts)
    is_code = _CODE.search(joined) is not None
    if not is_code and not _uses_names(joined):
        return list(texts), {}
    machine = _Machine()
    written: list[str] = []
    unread: dict[int, tuple[str, ...]] = {}
    for index, text in enumerate(texts):
        try:
            written.append(_line(text, machine, is_code))
        except _Unsupported:
            machine.shown = None
            written.append(text)
            if is_code:
                unread[index] = (text[:120],)
    return written, unread


def _uses_names(joined: str) -> bool:
    names = set(_NAMED.findall(joined))
    return any(re.search(rf"(?m)^\w+ = [^=\n]*\b{re.escape(name)}\b", joined) for name in list(names)[:50])


def _line(text: str, machine: _Machine, is_code: bool) -> str:
    """Return one line as a calculation. Raises _Unsupported if it calculates and cannot be read."""
    prompt = _PROMPT.match(text)
    quoted = _QUOTED.fullmatch(text)
    code, comment = quoted.groups() if quoted else _apart(text[prompt.end() :] if prompt else text)
    output = _OUTPUT.fullmatch(text.strip())
    if output and machine.shown is not None:
        shown, machine.shown = machine.shown, None
        return _claimed(_spelled(shown), shown, output[1], [])
    machine.shown = None
    defined = _DEFINED.match(code)
    if defined:
        machine.function, code = defined[1], code[defined.end() :]
    if is_code and _BRANCH.fullmatch(code) and not code.startswith(("import", "from")):
        raise _Unsupported
    several = _SEVERAL.fullmatch(code)
    if several:  # `box, lid = 4, 2`
        names, values = ([part.strip() for part in group.split(",")] for group in several.groups())
        if len(names) != len(values):
            raise _Unsupported
        machine.names.update(zip(names, map(Fraction, values), strict=True))
        return text
    assigned = _ASSIGNED.fullmatch(code)
    if assigned:
        return _assign(text, assigned, comment, machine, is_code)
    called = code.startswith("print(") and code.endswith(")")
    if called or quoted or code.startswith("return ") or (prompt and code):
        node = _printed(code) if called else _parsed(code.removeprefix("return "))
        if node is None:
            return text
        line, value = _calculated(node, comment, machine, _PRINTED if called else _CLAIM)
        machine.names["_"] = value
        if code.startswith("return "):
            machine.functions[machine.function] = value
        else:
            machine.shown = value
        return line
    return text


def _apart(text: str) -> tuple[str, str]:
    """Return code and comment of one line."""
    text = text.strip().strip("`").strip()
    sharp = next((mark.start() for mark in re.finditer("#", text) if not _in_quotes(text[: mark.start()])), len(text))
    code, comment = text[:sharp], text[sharp + 1 :]
    ended = re.search(r";\s*//", code)
    if ended:
        code, comment = code[: ended.start()], code[ended.end() :]
    return code.strip().rstrip(";").strip(), comment.strip()


def _in_quotes(before: str) -> bool:
    return before.count('"') % 2 == 1 or before.count("'") % 2 == 1


def _assign(text: str, assigned: re.Match[str], comment: str, machine: _Machine, is_code: bool) -> str:
    name, sign, right = assigned.groups()
    parts = [part.strip() for part in re.split(r"(?<![=<>!])=(?![=>])|→|=>|->", right)]
    nodes = [_parsed(part, must=is_code and not re.search("[\"'\\[{]", part)) for part in parts]
    if any(node is None for node in nodes):
        return text
    first = nodes[0]
    if first is None:
        return text
    if sign:
        old = ast.Name(name, ast.Load())
        first = _parsed(f"{ast.unparse(old)} {sign} ({ast.unparse(first)})") or first
    uses_names = any(isinstance(node, ast.Name) for node in ast.walk(first))
    try:
        value = _value(first, machine)
    except _Unsupported:
        machine.names.pop(name, None)
        if not is_code or (len(parts) > 1 and not uses_names):
            return text
        raise
    # names on the right have the values of before the assignment
    if not is_code and not uses_names:
        line = text
    elif len(parts) > 1:
        line = " = ".join(_substituted(node, machine) for node in (first, *nodes[1:]) if node is not None)
    elif isinstance(first, ast.Constant):
        line = text
    else:
        line = _with_claim(first, value, comment, machine)
    machine.names[name] = value
    return line


def _calculated(node: ast.expr, comment: str, machine: _Machine, claims: re.Pattern[str]) -> tuple[str, Fraction]:
    value = _value(node, machine)
    return _with_claim(node, value, comment, machine, claims), value


def _with_claim(
    node: ast.expr, value: Fraction, comment: str, machine: _Machine, claims: re.Pattern[str] = _CLAIM
) -> str:
    """Return the calculation with the result that the comment claims, else with its own."""
    inner, inner_value = node, value
    if isinstance(node, ast.Call):
        if len(node.args) != 1 or not any(isinstance(part, ast.BinOp) for part in ast.walk(node)):
            inner = ast.Constant(_number(value))
        else:
            inner, inner_value = node.args[0], _value(node.args[0], machine)
    source = _substituted(inner, machine)
    claim = claims.fullmatch(comment)
    literals = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
    if claim and inner_value == value:
        number = Fraction(claim["number"].replace(",", ""))
        if not (claim["words"] and number != value and number in literals):  # `left = total - 4  # 4 broken`
            return _claimed(source, value, claim["number"], [node])
    if claim and inner_value != value and Fraction(claim["number"].replace(",", "")) != value:
        return f"{_spelled(value)} + 0 = {claim['number']}"
    if not isinstance(inner, ast.BinOp):
        return ""
    extra = f"; {comment}" if "=" in comment else ""
    return f"{source} = {_spelled(inner_value)}{extra}"


def _claimed(source: str, value: Fraction, claim: str, nodes: Sequence[ast.expr]) -> str:
    if any(isinstance(node, ast.BinOp) for node in nodes):
        return f"{source} = {claim}"
    number = Fraction(claim.replace(",", ""))
    decimals = len(claim.partition(".")[2])
    if abs(number - value) * 10**decimals <= (Fraction(1, 2) if decimals else 0):
        return ""
    return f"{_spelled(value)} + 0 = {claim}"


def _parsed(source: str, must: bool = False) -> ast.expr | None:
    """Parse an expression; None, or with `must` an error, if it is none."""
    if len(source) <= _MAX_EXPRESSION:
        try:
            return ast.parse(re.sub(r"(?<=\d)_(?=\d)", "", source.strip()).replace("^", "**"), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            pass
    if must and re.search(r"\d ?[-+*/] ?[\w(]|[-+*/] ?\d", source):
        raise _Unsupported
    return None


def _printed(code: str) -> ast.expr | None:
    """Return what a print shows: its last value that is no text."""
    node = _parsed(code)
    if not isinstance(node, ast.Call):
        return None
    values: list[ast.expr] = []
    for argument in node.args:
        if isinstance(argument, ast.JoinedStr):
            values += [part.value for part in argument.values if isinstance(part, ast.FormattedValue)]
        elif not (isinstance(argument, ast.Constant) and isinstance(argument.value, str)):
            values.append(argument)
    return values[-1] if values else None


def _value(node: ast.expr, machine: _Machine) -> Fraction:
    """Evaluate an expression. Raises _Unsupported if it holds more than arithmetic on known names."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return Fraction(repr(node.value)) if math.isfinite(node.value) else _refuse()
    if isinstance(node, ast.Name):
        return machine.names[node.id] if node.id in machine.names else _refuse()
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _value(node.operand, machine)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if not node.args and name in machine.functions:
            return machine.functions[name]
        if len(node.args) == 1 and name in _FUNCTIONS:
            return _FUNCTIONS[name](_value(node.args[0], machine))
    if isinstance(node, ast.BinOp):
        value = _operated(node.op, _value(node.left, machine), _value(node.right, machine))
        small = max(value.numerator.bit_length(), value.denominator.bit_length()) <= _MAX_BITS
        return value if small else _refuse()
    return _refuse()


def _operated(operator: ast.operator, left: Fraction, right: Fraction) -> Fraction:
    if isinstance(operator, ast.Add):
        return left + right
    if isinstance(operator, ast.Sub):
        return left - right
    if isinstance(operator, ast.Mult):
        return left * right
    if isinstance(operator, ast.Pow):
        bits = max(left.numerator.bit_length(), left.denominator.bit_length())
        if right.denominator > 1 or not 0 <= right <= 64 or bits * right > _MAX_BITS:
            return _refuse()
        return Fraction(left**right.numerator)
    if not right:
        return _refuse()
    if isinstance(operator, ast.Div):
        return left / right
    if isinstance(operator, ast.FloorDiv):
        return Fraction(left // right)
    return left % right if isinstance(operator, ast.Mod) else _refuse()


def _refuse() -> Fraction:
    raise _Unsupported


def _substituted(node: ast.expr, machine: _Machine) -> str:
    """Write an expression with the values of its names."""
    return ast.unparse(_Values(machine).visit(ast.parse(ast.unparse(node), mode="eval").body))


class _Values(ast.NodeTransformer):
    """Replaces names by their values."""

    def __init__(self, machine: _Machine) -> None:
        self.machine = machine

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """Return the value of a name."""
        value = self.machine.names.get(node.id)
        return node if value is None else ast.Constant(_number(value))


def _number(value: Fraction) -> int | float:
    return value.numerator if value.denominator == 1 else float(round(value, 6))


def _spelled(value: Fraction) -> str:
    return str(_number(value))
