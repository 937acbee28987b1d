"""Files that come with tillmesh to be tried; README.md says whose they are."""

from pathlib import Path

ONLINE_RETAIL = Path(__file__).with_name("online-retail-sample.csv.gz")
"""The first 1,500 invoices of a gift retailer."""
