"""Ingress: Meta's webhooks and the business's send requests in, conversation and account events out; it keeps nothing."""
