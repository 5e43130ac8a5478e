"""Object storage: one small protocol, by S3 and by a local folder."""
