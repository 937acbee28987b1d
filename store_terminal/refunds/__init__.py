"""Money given back at the till."""
