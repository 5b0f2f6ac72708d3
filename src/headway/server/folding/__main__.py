"""``python -m headway.server.folding``: started by :mod:`headway.server.workers.folding`, not by people."""

from headway.server.folding.process import main

if __name__ == "__main__":
    main()
