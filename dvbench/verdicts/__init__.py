"""What may be said of a number: what it rests on, whether it may stand beside the paper's, and how two runs compare."""
