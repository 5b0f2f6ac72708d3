"""PyTorch: ``watch(model, run)`` records how gradients and parameters are distributed. A plain loop needs nothing else
than ``run.log``: one-element tensors are values."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from typing_extensions import Self

from headway.errors import InvalidRequestError
from headway.tracking.histograms import Histogram
from headway.tracking.integrations.guard import Tracked, guarded

BINS = 64


def watch(model: Any, run: Tracked, *, every: int = 100, gradients: bool = True, parameters: bool = True) -> Watch:
    """Record histograms of a model's gradients and parameters while it trains.

    In every ``every``-th forward pass in training mode (the first one included) ``parameters/<name>`` is recorded as it
    is then, and ``gradients/<name>`` when the backward pass has come by. The step counts those forward passes, from 0.

    Args:
        model: A ``torch.nn.Module``.
        run: What records.
        every: In every how-many-eth forward pass.
        gradients: Whether gradients are recorded, as they were accumulated so far.
        parameters: Whether parameters are recorded.

    Returns:
        What ends the watching: by ``remove()``, or as a context manager.

    Raises:
        InvalidRequestError: ``every`` is less than 1.
    """
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise InvalidRequestError(f"every must be a whole number of at least 1, not {every!r}.")
    return Watch(model, run, every, gradients, parameters)


class Watch:
    """The hooks of :func:`watch`."""

    def __init__(self, model: Any, run: Tracked, every: int, gradients: bool, parameters: bool) -> None:
        self.step = -1
        """Forward passes in training mode so far, less one."""
        self._run = run
        self._every = every
        self._parameters = parameters
        self._waiting: set[str] = set()
        """Gradients that are to be recorded in this step and did not come by yet."""
        self._trained = (
            {name: item for name, item in model.named_parameters() if item.requires_grad} if gradients else {}
        )
        self._hooks = [model.register_forward_pre_hook(self._on_forward)]
        for name, item in self._trained.items():
            self._hooks.append(
                item.register_post_accumulate_grad_hook(lambda found, name=name: self._on_gradient(name, found))
            )

    def remove(self) -> None:
        """Watch no more. Calling it again does nothing."""
        while self._hooks:
            self._hooks.pop().remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    @guarded
    def _on_forward(self, model: Any, _inputs: Any) -> None:
        import torch

        if not model.training or not torch.is_grad_enabled():
            return
        self.step += 1
        self._waiting = set(self._trained) if self.step % self._every == 0 else set()
        if self._parameters and self.step % self._every == 0:
            found = {f"parameters/{name}": histogram(item) for name, item in model.named_parameters()}
            self._record(found)

    @guarded
    def _on_gradient(self, name: str, parameter: Any) -> None:
        if name in self._waiting:
            self._waiting.discard(name)
            self._record({f"gradients/{name}": histogram(parameter.grad)})

    def _record(self, found: dict[str, Histogram | None]) -> None:
        if metrics := {name: item for name, item in found.items() if item is not None}:
            self._run.log(metrics=metrics, step=self.step)


def histogram(tensor: Any) -> Histogram | None:
    """How the finite values of ``tensor`` are distributed, counted on its own device; None when it has none."""
    import torch

    if tensor is None or tensor.is_sparse:
        return None
    with torch.no_grad():
        values = tensor.detach().flatten().float()
        values = values[torch.isfinite(values)]
        if not values.numel():
            return None
        low, high = values.min().item(), values.max().item()
        if high - low < 1e-6 * max(1.0, abs(low)):
            low, high = low - 0.5 * max(1.0, abs(low)), high + 0.5 * max(1.0, abs(low))
        counts = torch.histc(values, BINS, low, high)
    width = (high - low) / BINS
    edges = [low + width * index for index in range(BINS)] + [high]
    return Histogram(counts=[int(count) for count in counts.tolist()], edges=edges)
