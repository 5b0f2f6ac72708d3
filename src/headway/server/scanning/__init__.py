"""Monitors go through logs in a process of their own: however slow an expression is, only monitors wait for it."""
