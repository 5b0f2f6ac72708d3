"""Preset algorithms: programs that need nothing but data and parameters. ``python -m headway.presets NAME`` runs one.

What they are called and take is vocabulary (:mod:`headway.domain.algorithms`). A program finds its data where every job does
(HEADWAY_INPUT_TRAIN and so on), leaves its model in HEADWAY_MODEL_DIR, tracks its metrics in the job's run, and prints them.
"""
