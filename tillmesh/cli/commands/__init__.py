"""The commands of `tillmesh`: one file each, named after it."""
