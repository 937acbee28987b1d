"""Orders, their payment lock and their state."""
