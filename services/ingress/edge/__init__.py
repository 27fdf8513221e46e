"""The HTTP edge: business systems' calls in, as the Cloud API takes them; send requests out, and what became of them back."""
