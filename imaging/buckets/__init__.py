"""Bucket stores: Google Cloud Storage, Azure Blob and S3, as one narrow protocol."""
