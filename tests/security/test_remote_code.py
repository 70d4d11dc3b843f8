"""Models are data: transformers is never allowed to execute the Python files of a model folder."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def pretrained_loads() -> Iterator[tuple[str, ast.Call]]:
    """Every call of `from_pretrained` and `from_config` on one of transformers' Auto classes."""
    for path in sorted(p for folder in ("app", "worker") for p in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            owner = ast.unparse(node.func.value).rpartition(".")[2]
            is_load = node.func.attr in ("from_pretrained", "from_config")
            if is_load and owner.startswith(("Auto", "pipeline", "SentenceTransformer")):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def test_a65_every_load_of_a_model_forbids_its_code() -> None:
    loads = dict(pretrained_loads())
    assert len(loads) >= 6
    for place, call in loads.items():
        values = {keyword.arg: keyword.value for keyword in call.keywords}
        value = values.get("trust_remote_code")
        is_false = isinstance(value, ast.Constant) and value.value is False
        assert is_false, f"{place} does not pass trust_remote_code=False"


def test_a65_no_other_way_of_executing_a_models_code_is_used() -> None:
    """Pickled weights execute code too. Instructions for users, in strings, are no calls."""
    for path in sorted(p for folder in ("app", "worker") for p in (ROOT / folder).rglob("*.py")):
        text = path.read_text()
        for forbidden in ("get_class_from_dynamic_module", "torch.load("):
            assert forbidden not in text, f"{path.relative_to(ROOT)} uses {forbidden}"
        keywords = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.keyword)]
        for keyword in keywords:
            is_trusting = keyword.arg == "trust_remote_code" and "False" != ast.unparse(
                keyword.value
            )
            assert not is_trusting, f"{path.relative_to(ROOT)}:{keyword.lineno} executes code"
