"""The three servers as a client in Python sees them: connections, requests, lists."""
