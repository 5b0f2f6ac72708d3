"""The ``t9k`` SDK's spelling of Headway: scripts that record with ``t9k.em`` run on a Headway server, or on none.

Runs and artifacts are kept below ``.em/`` in the files that the original wrote. What is uploaded goes to the server that
``em.login()`` names, or HEADWAY_URL; the API key is a Headway token.
"""

from t9k import em
from t9k.config import CONFIG

__all__ = ["CONFIG", "em"]
