"""Tables, tests and figures from records; nothing here trains."""
