"""Tables 2 to 12 and their figures, drawn from the records of training runs."""
