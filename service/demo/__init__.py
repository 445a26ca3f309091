"""The demo: a whole loop on one's own machine."""
