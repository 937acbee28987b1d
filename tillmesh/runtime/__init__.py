"""Code that all three processes need. It holds no business rule."""
