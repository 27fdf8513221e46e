"""Side-by-side measurements; every number stands beside a ceiling measured in the same run."""
