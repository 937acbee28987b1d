"""`python -m thirdparty_server` starts the server."""

from thirdparty_server.server import main

main()
