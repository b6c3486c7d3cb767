"""When a provider is asked, asked again, and left alone."""
