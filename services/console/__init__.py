"""The operator's side: the CLI `wam`, a web page and the admin API. It keeps no state of its own."""
