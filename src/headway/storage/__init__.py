"""What the platform keeps: records in a database, files as blobs, streams as segments."""

from headway.storage.opening import open_segments, open_storage

__all__ = ["open_segments", "open_storage"]
