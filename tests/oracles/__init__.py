"""Slow, plain versions of what the package computes, to hold it against."""
