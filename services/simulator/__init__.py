"""A fake Meta: the Cloud API, signed webhooks, fake users, scripted failures, a ledger of the truth."""
