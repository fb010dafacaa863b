"""Anchors: places elsewhere that the record is written through to, out of reach of its own host."""
