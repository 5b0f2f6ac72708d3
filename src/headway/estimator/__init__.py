"""From code to endpoint: train with an Estimator, keep what it made as a model, deploy it, ask it."""
