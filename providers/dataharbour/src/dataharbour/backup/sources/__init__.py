"""What recovery points are made of: folders, buckets, PostgreSQL."""
