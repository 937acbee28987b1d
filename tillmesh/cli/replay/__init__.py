"""`tillmesh replay`: a file of real invoices, paid and returned through the three servers."""
