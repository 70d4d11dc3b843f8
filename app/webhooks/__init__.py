"""Webhooks: endpoints, deliveries with retries, and the sender."""
