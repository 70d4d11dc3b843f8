"""Learning rates of LoRA training by model family.

`5e-4 · (2000 / hidden size)^exponent`, fitted by Thinking Machines in sweeps over models and data
sets (tinker-cookbook, `hyperparam_utils.get_lr`, at commit 9dfcc3a). The exponent is that of the
family: 0.781 for Llamas, 0.0775 for Qwens. No formula is published for other families: they get the
lower of both rates.
"""

BASE_LEARNING_RATE = 5e-4
REFERENCE_HIDDEN_SIZE = 2000
LLAMA_EXPONENT = 0.781
QWEN_EXPONENT = 0.0775


def lora_learning_rate(model_type: str, hidden_size: int) -> float:
    """Compute the peak learning rate. `model_type` is that of the model's config."""
    return min(compute_rate(hidden_size, exponent) for exponent in list_exponents(model_type))


def list_exponents(model_type: str) -> tuple[float, ...]:
    """List the exponents that may be the family's."""
    if model_type.startswith("llama"):
        return (LLAMA_EXPONENT,)
    if model_type.startswith("qwen"):
        return (QWEN_EXPONENT,)
    return (LLAMA_EXPONENT, QWEN_EXPONENT)


def compute_rate(hidden_size: int, exponent: float) -> float:
    """Compute the formula; wider models take smaller steps."""
    return float(BASE_LEARNING_RATE * (REFERENCE_HIDDEN_SIZE / hidden_size) ** exponent)
