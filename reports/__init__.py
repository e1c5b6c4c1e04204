"""What a run leaves behind: records, their statistics, and the tables and figures drawn from them."""
