"""Callbacks for Keras: ``EMFitCallback(run)`` for ``fit``, ``EMEvalCallback(run)`` for ``evaluate``."""

from headway.tracking.integrations.keras import EvaluateCallback as EMEvalCallback
from headway.tracking.integrations.keras import FitCallback as EMFitCallback

__all__ = ["EMEvalCallback", "EMFitCallback"]
