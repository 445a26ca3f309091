"""From accepted patches to a dataset: read what is there, plan (pure), write."""
