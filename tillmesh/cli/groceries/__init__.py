"""`tillmesh baskets`: a file of real baskets, scanned item by item and sold at once."""
