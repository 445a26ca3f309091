"""Label Studio's contract: its JSON read and written (pure), its HTTP API, its images, its project set-up."""
