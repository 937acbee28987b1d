"""Compares orders, payments, the ledger and terminals over the servers' own APIs."""
