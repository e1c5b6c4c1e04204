"""Tables 1, 13 and 14 and figures 20 and 21: the paper's numbers beside ours, drawn from records."""
