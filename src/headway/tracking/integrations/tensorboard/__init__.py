"""TensorBoard: its event files as runs, once or while they are written.

::

    from headway.tracking.integrations.tensorboard import import_directory

    report = import_directory("logs", project="digits")
"""

from headway.tracking.integrations.tensorboard.directory import ImportedRun
from headway.tracking.integrations.tensorboard.importing import ImportReport, import_directory

__all__ = ["ImportReport", "ImportedRun", "import_directory"]
