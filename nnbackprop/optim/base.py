"""What every optimizer is: a kernel for one number, and the names of the state it keeps for each parameter.

An optimizer holds hyperparameters only. Parameters, gradients and state travel as arguments; parameters and state
are donated to `step`: it may overwrite them, and what it returns takes their place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from backends import ElementwiseKernel, Tree, tree_map
from nnbackprop.errors import UsageError
from nnbackprop.nn.layers.base import Params, use_python_numbers


@dataclass(frozen=True)
class Optimizer:
    """One update of all parameters: `kernel(xp, w, dw, *states, *scalars) -> (w, *states)`, element by element,
    or `-> w` without states.

    A subclass gives `kernel`, a module-level function, and the names of its states, all zero at first. Where the
    kernel takes other scalars than lr and the hyperparameters in their order, it gives `kernel_args`, and
    `step_scalars` where these depend on the step. Any `Trainer` takes it:

    >>> from dataclasses import dataclass
    >>> def sign_kernel(xp, w, dw, lr):
    ...     return w - lr * xp.sign(dw)
    >>> @dataclass(frozen=True)
    ... class SignSGD(nb.Optimizer):
    ...     kernel = sign_kernel
    >>> xp, params = nb.select("numpy").xp, {"w": np.array([1.0, 1.0])}
    >>> params, state = SignSGD().step(xp, params, {"w": np.array([0.2, -3.0])}, (), {"lr": 0.1})
    >>> params["w"]
    array([0.9, 1.1])
    """

    kernel: ClassVar[ElementwiseKernel]
    state_names: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        use_python_numbers(self)

    def init(self, xp: Any, params: Params) -> Tree:
        """Return the state before the first step: zeros like `params` for each name; () without state."""
        return {name: tree_map(xp.zeros_like, params) for name in self.state_names} or ()

    def step_scalars(self, t: int, lr: float) -> dict[str, float]:
        """Return the numbers of step `t`, counted from 1, computed on the host in double precision.

        The caller hands them to `step` as 0-d arrays of the parameters' dtype, so that a compiled loop takes
        them as data. "lr" is always among them.
        """
        return {"lr": float(lr)}

    def kernel_args(self, scalars: dict[str, Any]) -> tuple[Any, ...]:
        """Return the scalar arguments of the kernel, in its order, from a step's `scalars`.

        A number computed from hyperparameters alone, such as 1 - beta, is one of them: on large arrays a kernel
        may be compiled, with every scalar rounded to the arrays' dtype first.
        """
        return scalars["lr"], *vars(self).values()

    def step(
        self, xp: Any, params: Params, grads: Params, state: Tree, scalars: dict[str, Any]
    ) -> tuple[Params, Tree]:
        """Return the parameters after one update by `grads`, and the state; shapes and dtypes stay.

        A parameter without a gradient, such as a running mean, is passed on as it is.
        """
        if not hasattr(xp, "foreach"):
            raise UsageError(
                f"An optimizer needs the namespace of a backend, with its `foreach`; got xp={xp!r}. Use "
                'backends.select("numpy").xp, or "torch", "jax" or "cupy".'
            )
        states = tuple([state[name] for name in self.state_names])
        params, states = xp.foreach(type(self).kernel, params, grads, states, self.kernel_args(scalars))
        return params, dict(zip(self.state_names, states, strict=True)) if states else state

    def eval_params(self, params: Params, state: Tree) -> Params:
        """Return the parameters to evaluate, predict and save by: the trained ones, or what `state` keeps."""
        return params

    def state_for_new_params(self, xp: Any, params: Params, state: Tree) -> Tree:
        """Return the state from which training goes on with other parameters."""
        return state


def check_optimizer(optimizer: Any, owner: object) -> None:
    """Raise UsageError unless `optimizer`, given to the optimizer `owner`, is one and not its class."""
    if not isinstance(optimizer, Optimizer):
        hint = f" Write {optimizer.__name__}(), with parentheses." if isinstance(optimizer, type) else ""
        raise UsageError(
            f"{type(owner).__name__} needs an optimizer, such as nb.Adam(), and got {optimizer!r}.{hint}"
        )


def check_decay(name: str, value: float) -> None:
    """Raise UsageError unless 0 <= value < 1, as the decay of a running mean must be."""
    if not 0 <= value < 1:
        raise UsageError(f"{name} is the share of a running mean that is kept, 0 <= {name} < 1; got {value!r}.")


def check_epsilon(eps: float) -> None:
    """Raise UsageError unless eps > 0: it keeps a division by a root of zero from being one by zero."""
    if not eps > 0:
        raise UsageError(f"eps stands in a divisor that may else be zero, and must be above 0; got {eps!r}.")
