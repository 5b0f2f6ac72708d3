"""Contract suites to subclass: an implementation is done when its suite passes.

The modules here need pytest, and some of them Hypothesis; nothing outside tests imports them.
"""
