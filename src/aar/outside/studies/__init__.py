"""Embedded study files."""
