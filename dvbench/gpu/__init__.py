"""Everything that needs a GPU in one run of minutes: checks, races, tables 13 and 14, figures 20 and 21."""
