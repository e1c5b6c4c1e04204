"""The paper's tasks: neck, head, loss and scores on any backbone of `models`; data is handed in, never fetched."""
