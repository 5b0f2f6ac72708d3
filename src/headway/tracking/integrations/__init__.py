"""Callbacks and loggers of other frameworks: each module imports its framework only when it is used."""
