"""Ingress under attack from this machine, while good webhooks come at a steady rate (`make siege`)."""
