"""How the system is brought to machines: images, manifests, dashboards, and the local stack."""
