"""Negatives without Label Studio: from scenes, or from images with labels."""
