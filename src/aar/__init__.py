"""Teams of automated alignment researchers, with a record that nobody can quietly change."""

__version__ = "0.1.0"
