"""`0.7 * exact + 0.3 * max(fuzzy, 0.5)`: a multi grader's `calculate_output`."""

import ast
import math
import operator
from collections.abc import Callable, Mapping

OPERATORS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    # Written ^, which is the exclusive or to Python's parser and binds more loosely than a sum.
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


class FormulaError(ValueError):
    """The formula cannot be read, names an unknown grader, or has no finite value."""


def evaluate(formula: str, values: Mapping[str, float]) -> float:
    """The formula's value, `values` being those of the graders by key. Raises FormulaError."""
    try:
        tree = ast.parse(formula.strip().replace("^", "**"), mode="eval")
        value = float(_value(tree.body, values))
    except FormulaError:
        raise
    except (SyntaxError, ArithmeticError, ValueError, TypeError, RecursionError) as error:
        raise FormulaError(str(error)) from error
    if not math.isfinite(value):
        raise FormulaError("it has no finite value")
    return value


def _value(node: ast.expr, values: Mapping[str, float]) -> float:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return float(number)
        case ast.Name(id=name) if name in values:
            return values[name]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            return OPERATORS[type(op)](_value(left, values), _value(right, values))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, values)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand, values)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS:
            return FUNCTIONS[name](*(_value(arg, values) for arg in args))
    raise FormulaError(f"{ast.unparse(node)!r} cannot be part of it")
