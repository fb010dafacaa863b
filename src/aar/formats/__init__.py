"""Formats: bytes to values and back for all that crosses a boundary; pure, strict, one spelling each."""
