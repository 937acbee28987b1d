"""Money given back, with a sale and without."""
