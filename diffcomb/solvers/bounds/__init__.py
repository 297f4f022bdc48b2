"""Compiled parts of lower bounds: cycle packing, message passing of triplets, message passing of classes."""
