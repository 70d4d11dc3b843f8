"""The generated parts of the documentation, computed from the code."""
