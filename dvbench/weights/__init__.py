"""Weights in and out: embeddings of classes from text, official names for a checkpoint, what became of each key."""
