"""Payments, from the request to their end."""
