"""What the till prints."""
