"""A mesh for tests of tills and services: simulated payers, faults on purpose, and a clock that a test moves."""
