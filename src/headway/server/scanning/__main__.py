"""``python -m headway.server.scanning``."""

from headway.server.scanning.process import main

if __name__ == "__main__":
    main()
