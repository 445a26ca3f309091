"""label-studio-negatives."""
