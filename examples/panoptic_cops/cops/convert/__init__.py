"""Annotations of other programs, and the own-data folder that they are converted to."""
