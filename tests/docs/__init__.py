"""The pages of docs/ against the code."""
