"""How Label Studio's events come in: read (pure), then made durable."""
