"""Finds every regular expression of the program, and the methods that it is used with."""

import ast
import importlib
import re
from dataclasses import dataclass
from functools import cache

from tests.conftest import ROOT

AnyPattern = re.Pattern[str] | re.Pattern[bytes]

PACKAGES = ("app", "worker")
METHODS = frozenset({"search", "match", "fullmatch", "split", "findall", "finditer", "sub", "subn"})
# Patterns that are put together at run time, each with an example of what it becomes.
RUNTIME_PATTERNS = {
    "'|'.join(map(re.escape, self._names)) or '(?!)'": r"<\|im_start\|>|<\|im_end\|>|<s>",
    "f'{self._placeholder}(\\\\d+)x'": r"cover0123456789abcdefx(\d+)x",
    # Of chat rendering: special tokens by their random names, and texts between them.
    "f'<{secret}:\\\\d+>'": r"<0123456789abcdef:\d+>",
    "'|'.join(map(re.escape, stops)) or '(?!)'": r"<0123456789abcdef:1>|<0123456789abcdef:2>",
    "re.escape(header)": r"<0123456789abcdef:1>assistant\n",
    "f'({begin}|{end})'": r"(span0123456789abcdefb|span0123456789abcdefe)",
    "f'\\\\s*+{begin}\\\\s*+{end}\\\\s*+'": r"\s*+<think>\s*+</think>\s*+",
    "f'{begin}\\\\s*+({end}\\\\s*+)?\\\\Z'": r"<think>\s*+(</think>\s*+)?\Z",
    "f'\\\\s*+{begin}\\\\s*+'": r"\s*+<think>\s*+",
    "f'\\\\s*+{begin}.*?{end}\\\\s*+'": r"(?s)\s*+<think>.*?</think>\s*+",
    # A model's name at an engine, in the engine's sentences.
    "f'(?<![\\\\w./-]){re.escape(name)}(?![\\\\w/-]|[.:]\\\\w)'": (
        r"(?<![\w./-])/models/base(?![\w/-]|[.:]\w)"
    ),
}


@dataclass(frozen=True, slots=True)
class PatternSite:
    """A call of `re`: where it is, and the methods that its pattern is used with."""

    path: str
    call: ast.Call
    methods: frozenset[str]

    def __str__(self) -> str:
        return f"{self.path}:{self.call.lineno}"

    def compile(self) -> AnyPattern:
        """Evaluate the arguments in their module, which is imported only now."""
        source, *flags = _pattern_arguments(self.call)
        text = ast.unparse(source)
        if text in RUNTIME_PATTERNS:
            return re.compile(RUNTIME_PATTERNS[text])
        module = importlib.import_module(self.path.removesuffix(".py").replace("/", "."))
        try:
            return re.compile(*(eval(ast.unparse(part), vars(module)) for part in [source, *flags]))
        except NameError as error:
            raise AssertionError(
                f"{self}: a pattern that is put together at run time; add an example of it to "
                f"RUNTIME_PATTERNS under {text!r}"
            ) from error


def find_pattern_sites() -> list[PatternSite]:
    """Find the calls of `re` in the program's modules."""
    return [
        PatternSite(path, node, frozenset(_methods(node)))
        for path, tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _is_re_call(node)
    ]


def find_pydantic_engine_settings() -> list[str]:
    """The places that choose pydantic's engine for `pattern=`. Its default is linear."""
    return [
        f"{path}:{node.lineno}"
        for path, tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg == "regex_engine"
    ]


@cache
def _trees() -> tuple[tuple[str, ast.Module], ...]:
    paths = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    trees = [(str(path.relative_to(ROOT)), ast.parse(path.read_text())) for path in paths]
    for _, tree in trees:
        for parent in ast.walk(tree):
            for child in ast.iter_child_nodes(parent):
                child.parent = parent  # type: ignore[attr-defined]
    return tuple(trees)


def _is_re_call(call: ast.Call) -> bool:
    match call.func:
        case ast.Attribute(value=ast.Name(id="re"), attr=name):
            return name == "compile" or name in METHODS
    return False


def _pattern_arguments(call: ast.Call) -> list[ast.expr]:
    """The pattern and its flags."""
    flags = [keyword.value for keyword in call.keywords if keyword.arg == "flags"]
    positional = call.args[:2] if ast.unparse(call.func) == "re.compile" else call.args[:1]
    return [*positional, *flags]


def _methods(call: ast.Call) -> set[str]:
    name = ast.unparse(call.func).removeprefix("re.")
    return _methods_of_compiled(call) if name == "compile" else {name}


def _methods_of_compiled(call: ast.Call) -> set[str]:
    """The methods called on the variable that the pattern is assigned to; all, if none is found."""
    assignment = call.parent  # type: ignore[attr-defined]
    if not isinstance(assignment, ast.Assign):
        return set(METHODS)
    target = assignment.targets[0]
    name = target.attr if isinstance(target, ast.Attribute) else ast.unparse(target)
    return {method for user, method in _method_calls() if user == name} or set(METHODS)


@cache
def _method_calls() -> frozenset[tuple[str, str]]:
    """The last part of the name of each variable that one of the METHODS is called on."""
    return frozenset(
        (ast.unparse(node.func.value).split(".")[-1], node.func.attr)
        for _, tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in METHODS
    )
