"""tillmesh: pay in a physical store with the account you already hold online."""
