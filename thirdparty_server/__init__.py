"""Identities, bound accounts, payments and a double-entry ledger."""
