"""A small HTTP/1.1 server: httptools parses, uvloop moves bytes, nothing else is between a socket and a model."""
