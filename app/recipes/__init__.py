"""Recipes: the rules that resolve "auto" hyperparameters, for training and for estimates."""
