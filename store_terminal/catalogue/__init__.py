"""The articles that the store sells."""
