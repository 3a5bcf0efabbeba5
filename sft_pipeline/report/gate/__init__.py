"""The gate's page, pictures, JSON and text."""
