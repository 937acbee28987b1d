"""`python -m store_terminal` starts the server."""

from store_terminal.server import main

main()
