"""Checkouts, from the basket to the receipt."""
