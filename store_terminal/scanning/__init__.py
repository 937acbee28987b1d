"""What a scanner sends, and what it means here."""
