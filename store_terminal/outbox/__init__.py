"""The transactional outbox: what is asked of other servers is written down first, then driven until it is answered."""
