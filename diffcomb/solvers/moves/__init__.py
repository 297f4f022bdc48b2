"""Compiled kernels that change a labelling: single nodes, chains of them, and pairs of clusters."""
