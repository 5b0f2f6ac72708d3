"""The vocabulary: frozen records, requests, state tables and pure rules.

Both sides of the wire use these; nothing here does I/O or imports anything of ours but :mod:`headway.errors`.
"""
