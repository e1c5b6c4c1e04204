"""Training runs: a cell becomes a record."""
