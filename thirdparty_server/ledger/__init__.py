"""A double-entry ledger: accounts, entries, roll-ups."""
