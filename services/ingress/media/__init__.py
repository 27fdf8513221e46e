"""Files: those that customers send, kept in an object store and given out; those that the business uploads, handed on to Meta (docs/media.md)."""
