"""Tracking a run from within the program that trains."""
