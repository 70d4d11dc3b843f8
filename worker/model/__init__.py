"""Base models as training and serving share them."""
