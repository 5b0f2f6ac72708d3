"""What Headway is measured beside: ``python -m serving.peers.<name> KIND DIRECTORY PORT``."""
