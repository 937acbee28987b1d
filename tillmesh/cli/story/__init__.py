"""The story that the demo plays on a running mesh: each scene does something, checks it, and says it."""
