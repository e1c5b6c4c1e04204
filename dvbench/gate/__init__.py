"""What the regression gate measures, and the committed baseline."""
