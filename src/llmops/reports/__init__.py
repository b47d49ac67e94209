"""A run as text for people and machines."""
