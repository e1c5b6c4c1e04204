"""Other methods of the paper's tables, each a whole network: see `models.rivals.roster`."""
