"""OSS as a destination."""
