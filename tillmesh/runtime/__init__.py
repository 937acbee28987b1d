"""What each of the three processes needs, and no business rule."""
