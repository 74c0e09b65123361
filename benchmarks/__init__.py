"""Benchmarks of whichpool beside the pools people use today; ``python -m benchmarks`` runs them."""
