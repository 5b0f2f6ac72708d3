"""What every storage promises, as tests."""

from headway.testing.storage.contract import StorageContract

__all__ = ["StorageContract"]
