"""Parse LaTeX or plain arithmetic into a small tree, without evaluating anything.

A hand-written descent parser: its input is a model's text, so that it has a depth limit, a length
limit, and knows only the operations listed here. What it does not know raises `NotAnExpression`.
"""

from fractions import Fraction

from metamath_ray.answers._symbols import NotAnExpression, split_symbols

_MAX_DEPTH = 40
_MAX_TOKENS = 300

Node = tuple[object, ...]
"""(operation, operand, …): `("num", Fraction)`, `("var", name)`, `("add", Node, Node)` and the like."""

_TRIGONOMETRY = [
    "sin",
    "cos",
    "tan",
    "sec",
    "csc",
    "cot",
    "arcsin",
    "arccos",
    "arctan",
    "sinh",
    "cosh",
    "tanh",
]
FUNCTIONS = frozenset([*_TRIGONOMETRY, "ln", "exp", "log"])
_TIMES = frozenset({"*", "\\cdot", "\\times"})
_GROUPS = {"(": ")", "{": "}", "[": "]"}
_GREEK = frozenset(
    {
        "\\alpha", "\\beta", "\\gamma", "\\delta", "\\epsilon", "\\theta", "\\lambda", "\\mu", "\\nu", "\\rho",
        "\\sigma", "\\tau", "\\phi", "\\varphi", "\\omega", "\\psi", "\\xi", "\\eta", "\\zeta", "\\kappa",
        "\\chi", "\\ell", "\\infty", "\\Delta", "\\Omega", "\\triangle",
    }
)  # fmt: skip


def parse_expression(text: str) -> Node:
    """Give the tree of a tidied expression.

    Raises:
        NotAnExpression: too long, too deep, or holding anything that is not plain arithmetic.
    """
    parser = _Parser(split_symbols(text))
    node = parser.sum(0)
    if parser.position != len(parser.symbols):
        raise NotAnExpression(f"unexpected {parser.symbols[parser.position]!r}")
    return node


class _Parser:
    """Descent over a list of symbols; a number symbol may be split where LaTeX takes one digit."""

    def __init__(self, symbols: list[str]) -> None:
        self.symbols = symbols
        self.position = 0
        self.bars = 0
        self.steps = 0

    def peek(self) -> str:
        return self.symbols[self.position] if self.position < len(self.symbols) else ""

    def take(self, expected: str = "") -> str:
        symbol = self.peek()
        if not symbol or (expected and symbol != expected):
            raise NotAnExpression(f"expected {expected or 'more'!r}, got {symbol!r}")
        self.position += 1
        self.steps += 1
        if self.steps > _MAX_TOKENS:
            raise NotAnExpression("too long")
        return symbol

    def sum(self, depth: int) -> Node:
        if depth > _MAX_DEPTH:
            raise NotAnExpression("too deep")
        node = self.product(depth)
        while self.peek() in ("+", "-"):
            operation = "add" if self.take() == "+" else "sub"
            node = (operation, node, self.product(depth))
        return node

    def product(self, depth: int) -> Node:
        node = self.signed(depth)
        while symbol := self.peek():
            if symbol in _TIMES:
                self.take()
                node = ("mul", node, self.signed(depth))
            elif symbol == "/":
                self.take()
                node = ("div", node, self.signed(depth))
            elif self.starts_factor(symbol):
                node = ("mul", node, self.power(depth))
            else:
                break
        return node

    def starts_factor(self, symbol: str) -> bool:
        """Tell whether the symbol can begin a factor that is multiplied without a sign."""
        if symbol == "|":
            return self.bars == 0
        return symbol[0] not in "+-*/^_)]}!'" and (
            not symbol[0].isdigit() or self.symbols[self.position - 1] in ")}"
        )

    def signed(self, depth: int) -> Node:
        if self.peek() in ("-", "+"):
            if depth > _MAX_DEPTH:
                raise NotAnExpression("too deep")
            sign = self.take()
            node = self.signed(depth + 1)
            return ("neg", node) if sign == "-" else node
        return self.power(depth)

    def power(self, depth: int) -> Node:
        node = self.atom(depth + 1)
        while self.peek() in ("!", "^"):
            if self.take() == "!":
                node = ("fact", node)
            elif self.peek() == "\\circ":
                self.take()
                node = ("deg", node)
            else:
                node = ("pow", node, self.exponent(depth + 1))
        return node

    def exponent(self, depth: int) -> Node:
        if depth > _MAX_DEPTH:
            raise NotAnExpression("too deep")
        if self.peek() in ("-", "+"):
            return ("neg", self.exponent(depth + 1)) if self.take() == "-" else self.exponent(depth + 1)
        node = self.atom(depth + 1)
        return ("pow", node, self.exponent(depth + 1)) if self.peek() == "^" and self.take() else node

    def atom(self, depth: int) -> Node:
        symbol = self.take()
        if symbol[0].isdigit() or symbol[0] == ".":
            return self.number(symbol, depth)
        if symbol in _GROUPS:
            node = self.sum(depth + 1)
            self.take(_GROUPS[symbol])
            return node
        if symbol == "|":
            return self.absolute(depth)
        if symbol.isalpha() or symbol in _GREEK:
            return self.variable(symbol)
        return self.command(symbol, depth)

    def number(self, symbol: str, depth: int) -> Node:
        if self.peek() == "\\overline":
            return self.repeating(symbol)
        node: Node = ("num", Fraction(symbol))
        if "." in symbol:
            return node
        if self.peek() == "\\frac":
            return self.mixed(node, depth)
        following = self.symbols[self.position : self.position + 3]
        if len(following) == 3 and following[1] == "/" and following[0].isdigit() and following[2].isdigit():
            self.position += 3
            return ("add", node, ("div", ("num", Fraction(following[0])), ("num", Fraction(following[2]))))
        return node

    def mixed(self, whole: Node, depth: int) -> Node:
        """Read `1\\frac{2}{3}` as one and two thirds, `2\\frac{x}{3}` as a product."""
        fraction = self.power(depth)
        plain = fraction[0] == "div" and all(
            isinstance(part, tuple) and part[0] == "num" for part in fraction[1:]
        )
        return ("add" if plain else "mul", whole, fraction)

    def repeating(self, symbol: str) -> Node:
        self.take("\\overline")
        self.take("{")
        digits = self.take()
        self.take("}")
        if not digits.isdigit() or "." not in symbol or len(digits) > 30:
            raise NotAnExpression("a bar over no digits")
        places = len(symbol.partition(".")[2])
        part = Fraction(int(digits), 10 ** len(digits) - 1) / 10**places
        return ("num", Fraction(symbol) + part)

    def absolute(self, depth: int) -> Node:
        self.bars += 1
        node = self.sum(depth + 1)
        self.take("|")
        self.bars -= 1
        return ("abs", node)

    def variable(self, name: str) -> Node:
        if self.peek() == "_":
            self.take()
            name += "_" + self.subscript()
        while self.peek() == "'":
            name += self.take()
        return ("var", name)

    def subscript(self) -> str:
        symbol = self.take()
        if symbol != "{":
            return symbol
        parts = []
        while self.peek() not in ("}", ""):
            parts.append(self.take())
        self.take("}")
        return "".join(parts)

    def argument(self, depth: int) -> Node:
        """Read a macro's argument: a group, or one symbol, of a number its first digit."""
        symbol = self.peek()
        if symbol.isdigit() and len(symbol) > 1:
            self.symbols[self.position] = symbol[1:]
            return ("num", Fraction(symbol[0]))
        if symbol.isdigit():
            return ("num", Fraction(self.take()))
        return self.atom(depth + 1)

    def command(self, symbol: str, depth: int) -> Node:
        if depth > _MAX_DEPTH:
            raise NotAnExpression("too deep")
        name = symbol[1:]
        if name == "pi":
            return ("pi",)
        if name in ("frac", "binom"):
            operation = "div" if name == "frac" else "binom"
            return (operation, self.argument(depth), self.argument(depth))
        if name == "sqrt":
            return self.root(depth)
        if name in ("lfloor", "lceil"):
            node = self.sum(depth + 1)
            self.take("\\r" + name[1:])
            return (name[1:], node)
        if name == "log" and self.peek() == "_":
            self.take()
            base = self.argument(depth)
            return ("log", base, self.operand(depth))
        if name in FUNCTIONS:
            return self.function(name, depth)
        raise NotAnExpression(f"unknown {symbol!r}")

    def root(self, depth: int) -> Node:
        degree: Node = ("num", Fraction(2))
        if self.peek() == "[":
            self.take()
            degree = self.sum(depth + 1)
            self.take("]")
        return ("root", degree, self.argument(depth))

    def function(self, name: str, depth: int) -> Node:
        exponent: Node | None = None
        if self.peek() == "^":
            self.take()
            exponent = self.exponent(depth + 1)
        node: Node
        if exponent == ("neg", ("num", Fraction(1))):
            return ("fn", "arc" + name, self.operand(depth))
        node = ("fn", name, self.operand(depth))
        return node if exponent is None else ("pow", node, exponent)

    def operand(self, depth: int) -> Node:
        """Read what a function without brackets applies to: `2x` in `\\sin 2x + 1`."""
        if self.peek() in ("(", "{", "["):
            return self.atom(depth + 1)
        node = self.power(depth + 1)
        while (symbol := self.peek()) and symbol not in ("(", "[") and self.starts_factor(symbol):
            if symbol[1:] in FUNCTIONS:
                break
            node = ("mul", node, self.power(depth + 1))
        return node
