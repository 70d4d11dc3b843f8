"""Compiler for the arithmetic of a multi grader: `0.7 * exact + 0.3 * max(fuzzy, 0.5)`."""

import ast
import math
import operator
from collections.abc import Callable, Collection, Mapping

OPERATORS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    # Written ^, which Python would parse as exclusive or, with a lower precedence than a sum.
    ast.Pow: math.pow,
}
FUNCTIONS: Mapping[str, Callable[..., float]] = {
    "min": min,
    "max": max,
    "abs": abs,
    "floor": math.floor,
    "ceil": math.ceil,
    "exp": math.exp,
    "sqrt": math.sqrt,
    "log": math.log,
}
# Minimum and maximum number of arguments of the functions that do not take exactly one.
ARGUMENT_COUNTS: Mapping[str, tuple[int, float]] = {
    "min": (2, math.inf),
    "max": (2, math.inf),
    "log": (1, 2),
}

# Of a constant. A larger one only makes 0, 1 or an overflow of a reward.
MAX_EXPONENT = 1000

# Takes the graders' rewards by key.
CompiledExpression = Callable[[Mapping[str, float]], float]


class FormulaError(ValueError):
    """The formula has a syntax error, names an unknown grader, or has no finite value."""


def compile_formula(formula: str, names: Collection[str]) -> CompiledExpression:
    """Compile a formula over the graders with these names. Raises FormulaError."""
    if "**" in formula:
        raise FormulaError("a power is written ^")
    try:
        tree = ast.parse(formula.strip().replace("^", "**"), mode="eval")
        return _compile_node(tree.body, names)
    except FormulaError:
        raise
    except SyntaxError as error:
        raise FormulaError(f"syntax error: {error.msg}") from error
    except (ArithmeticError, ValueError) as error:
        raise FormulaError(str(error)) from error
    except (RecursionError, MemoryError) as error:
        raise FormulaError("it is nested too deeply") from error


def evaluate(formula: str, values: Mapping[str, float]) -> float:
    """Evaluate a formula for these rewards by grader key. Raises FormulaError."""
    try:
        value = float(compile_formula(formula, values)(values))
    except FormulaError:
        raise
    except (ArithmeticError, ValueError, RecursionError) as error:
        raise FormulaError(str(error)) from error
    if not math.isfinite(value):
        raise FormulaError("it has no finite value")
    return value


def _compile_node(node: ast.expr, names: Collection[str]) -> CompiledExpression:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            constant = float(number)
            return lambda _: constant
        case ast.Name(id=name) if name in names:
            return operator.itemgetter(name)
        case ast.Name(id=name):
            raise FormulaError(f"there is no grader {name!r}")
        case ast.BinOp(op=ast.Pow(), right=exponent) if _is_too_large(exponent):
            raise FormulaError(f"an exponent is at most {MAX_EXPONENT:,}")
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            return _compile_call(OPERATORS[type(op)], [left, right], names)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _compile_call(operator.neg, [operand], names)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _compile_node(operand, names)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS:
            minimum, maximum = ARGUMENT_COUNTS.get(name, (1, 1))
            if minimum <= len(args) <= maximum:
                return _compile_call(FUNCTIONS[name], args, names)
            raise FormulaError(f"{name} does not take {len(args)} arguments")
    raise FormulaError(f"{ast.unparse(node)!r} is not supported")


def _is_too_large(exponent: ast.expr) -> bool:
    if isinstance(exponent, ast.UnaryOp):
        return _is_too_large(exponent.operand)
    value = exponent.value if isinstance(exponent, ast.Constant) else 0
    return isinstance(value, int | float) and abs(value) > MAX_EXPONENT


def _compile_call(
    function: Callable[..., float], arguments: Collection[ast.expr], names: Collection[str]
) -> CompiledExpression:
    compiled = [_compile_node(argument, names) for argument in arguments]
    return lambda values: function(*(expression(values) for expression in compiled))
