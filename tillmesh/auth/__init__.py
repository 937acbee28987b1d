"""Certificates, and who calls: the roles, and what a store or a payer may touch."""
