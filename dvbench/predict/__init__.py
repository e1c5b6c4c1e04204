"""A trained task on images of any size: windows of a raster, predicted and merged in its coordinates."""
