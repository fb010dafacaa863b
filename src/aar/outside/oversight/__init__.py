"""Oversight: what a person should know before a study is opened or relied on, and when to stop and look."""
