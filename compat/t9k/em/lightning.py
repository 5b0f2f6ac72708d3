"""Callback for Lightning: ``Trainer(callbacks=EMCallback(run))``."""

from headway.tracking.integrations.lightning import HeadwayCallback as EMCallback

__all__ = ["EMCallback"]
