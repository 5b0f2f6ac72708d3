"""The process that folds shipped metrics into column chunks, so that ingest, the API and folding share no interpreter."""
