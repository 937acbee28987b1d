"""`python -m order_service` starts the server."""

from order_service.server import main

main()
