"""`tillmesh audit`: whether histories are as they were written."""
