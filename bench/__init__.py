"""How fast tillmesh is, as ratios that are measured in one run."""
