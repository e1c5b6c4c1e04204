"""Backbones: images in, a pyramid of feature maps out. Knows torch and timm only."""
