"""Data structures in arrays, for kernels."""
