"""Integrations, one file per package that they are for. Each is imported by its own name, none by this one.

A package that is not installed is a MissingDependency when its integration is imported.
"""
