"""The vault: where recovery points are kept, and how they are written and read there.

The format to the byte: docs/reference/vault-format.md; why: docs/decisions/0018-the-vault.md.
"""
