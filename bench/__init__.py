"""Measures the speed of tillmesh, as ratios taken in one run."""
