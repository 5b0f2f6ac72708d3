"""Append-only local streams: codec, writer, reader, shipper, and rows out of shipped logs."""
