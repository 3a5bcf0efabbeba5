"""The release of a gated adapter: exports judged against it, a folder with its proofs, signature and publication."""
