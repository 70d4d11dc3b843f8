"""Rules of a grammar in Lark's notation, named as they are added."""


class RuleList:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self._size = 0

    def reserve(self) -> str:
        """Make a name for a rule that is defined later, since it refers to itself."""
        self._size += 1
        return f"part{self._size}"

    def define(self, name: str, expression: str) -> str:
        self.lines.append(f"{name}: {expression}")
        return name

    def add(self, expression: str) -> str:
        """Add a rule, and return its name."""
        return self.define(self.reserve(), expression)

    def add_terminal(self, expression: str) -> str:
        """Add a regular expression that is one lexeme, and return its name."""
        self._size += 1
        return self.define(f"TEXT{self._size}", expression)
