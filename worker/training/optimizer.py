"""AdamW with decoupled weight decay on matrices only, and the clipping of gradients before it."""

import ctypes
from collections.abc import Iterable, Sequence
from ctypes import c_float, c_int64, c_void_p
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from app.recipes.chat import ADAM_BETAS
from worker.inference.native.library import Kernels
from worker.inference.native.structs import UNIT_NUMBERS, Parameter

# Added to the norm that gradients are divided by, as torch does.
NORM_EPS = 1e-6


class ClippingAdamW(AdamW):
    """AdamW whose gradients are clipped by their norm before its step.

    By its own methods, not wrapped for torch's compiler, whose import takes a second.
    """

    add_param_group = AdamW.add_param_group.__wrapped__  # type: ignore[attr-defined]
    load_state_dict = AdamW.load_state_dict.__wrapped__  # type: ignore[attr-defined]
    state_dict = AdamW.state_dict.__wrapped__  # type: ignore[attr-defined]
    zero_grad = AdamW.zero_grad.__wrapped__  # type: ignore[attr-defined]

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        return AdamW.step.__wrapped__(self, closure)  # type: ignore[attr-defined]

    def clip(self, max_norm: float) -> Tensor:
        """Clip the gradients by the norm of all; return what it was before."""
        return nn.utils.clip_grad_norm_(self.list_parameters(), max_norm)

    def list_parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self.param_groups for parameter in group["params"]]


class NativeAdamW(ClippingAdamW):
    """Reads and writes each parameter, its gradient and its moments once, in native code.

    torch's step has a pass to clip, and gradients must have the parameters' dtype; here they may
    have that of the kernels too, unless they `are_wide`. For contiguous parameters in float32 on a
    CPU; those without a gradient are left as they are.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        kernels: Kernels,
        *,
        are_wide: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(groups, **options)
        self._kernels = kernels
        table = (c_void_p, c_void_p, c_int64, c_int64)
        self._sum_squares = kernels.declare("sum_squares", *table, c_void_p)
        self._update = kernels.declare("adamw", *table, *[c_float] * 5)
        self._clip_factor = 1.0
        parameters = self.list_parameters()
        for parameter in () if are_wide else parameters:
            # Gradients of any dtype.
            parameter.grad_dtype = None
        self._table = (Parameter * len(parameters))()
        self._num_rows = self._num_units = 0

    def clip(self, max_norm: float) -> Tensor:
        """See ClippingAdamW; the gradients themselves stay, and are clipped by `step`."""
        gradients = self._point_to_gradients()
        sums = torch.empty(self._num_units, dtype=torch.float64)
        self._run(self._sum_squares, sums.data_ptr())
        del gradients
        norm = sums.sum().sqrt()
        self._clip_factor = min(1.0, max_norm / (float(norm) + NORM_EPS))
        return norm

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take a step, for all parameters that have a gradient."""
        gradients = self._point_to_gradients()
        rows = iter(self._table)
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for parameter in filter(_has_gradient, group["params"]):
                state, row = self._get_state(parameter), next(rows)
                state["step"] += 1
                step, rate = float(state["step"]), group["lr"]
                row.weights = parameter.data_ptr()
                row.mean, row.square = state["exp_avg"].data_ptr(), state["exp_avg_sq"].data_ptr()
                row.shrink = 1 - rate * group["weight_decay"]
                row.step_size = rate / (1 - beta1**step)
                row.root_scale = (1 - beta2**step) ** -0.5
        rates = (1 - beta1, 1 - beta2, beta2, group["eps"])
        self._run(self._update, self._clip_factor, *rates)
        del gradients
        self._clip_factor = 1.0

    def _point_to_gradients(self) -> Sequence[Tensor]:
        """Write the gradients' addresses into the table; they are valid while these are kept."""
        gradients = [p.grad.contiguous() for p in self.list_parameters() if p.grad is not None]
        self._num_rows, self._num_units = len(gradients), 0
        for row, gradient in zip(self._table, gradients, strict=False):
            row.gradient, row.count = gradient.data_ptr(), gradient.numel()
            row.is_wide = gradient.dtype == torch.float32
            if not row.is_wide and gradient.dtype != self._kernels.dtype:
                raise TypeError(f"the kernels cannot read gradients in {gradient.dtype}")
            row.first_unit = self._num_units
            self._num_units += -(-row.count // UNIT_NUMBERS)
        return gradients

    def _get_state(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """Get a parameter's state, which has the names and types of AdamW's."""
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            for name in ("exp_avg", "exp_avg_sq"):
                state[name] = torch.zeros_like(parameter, memory_format=torch.contiguous_format)
        return state

    def _run(self, function: Any, *arguments: float | int) -> None:
        threads = self._kernels.get_threads()
        table = ctypes.addressof(threads), ctypes.addressof(self._table)
        function(*table, self._num_rows, self._num_units, *arguments)


def _has_gradient(parameter: nn.Parameter) -> bool:
    return parameter.grad is not None


def build_optimizer(
    parameters: Iterable[nn.Parameter],
    *,
    weight_decay: float,
    kernels: Kernels | None = None,
    are_wide: bool = False,
) -> ClippingAdamW:
    """Build the optimizer, of gradients that `are_wide` or that may have the kernels' dtype.

    Norms and biases, which are vectors, do not decay.

    Decay pulls weights towards 0, which would scale a norm's output down, and keeps a bias from
    its value without making the model any simpler.
    """
    listed = list(parameters)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in listed if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in listed if p.ndim < 2], "weight_decay": 0.0},
    ]
    used = [group for group in groups if group["params"]]
    is_supported = all(p.dtype == torch.float32 and p.is_contiguous() for p in listed)
    if kernels is not None and is_supported:
        return NativeAdamW(used, kernels, are_wide=are_wide, betas=ADAM_BETAS)
    return ClippingAdamW(used, betas=ADAM_BETAS, fused=True)
