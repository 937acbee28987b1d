"""One way to use SQLite and PostgreSQL: transactions, request ids, histories, claims, migrations."""
