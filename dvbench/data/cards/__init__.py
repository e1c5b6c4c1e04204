"""The cards of the paper's thirteen datasets, of the embedded sample and of the synthetic scenes, a file per task."""
