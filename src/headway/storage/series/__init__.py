"""Metrics as column chunks with statistics: what charts, summaries and exact reads are made from."""
