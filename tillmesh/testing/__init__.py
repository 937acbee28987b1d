"""A pytest plugin for the tests of tills and services: three real servers, simulated payers, faults on purpose.

docs/testing.md says how to use it. The plugin itself is `tillmesh.testing.plugin`.
"""
