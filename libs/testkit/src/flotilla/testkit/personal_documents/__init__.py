"""A seeded generator of documents with labelled personal data, in four languages; every value is made up."""

from flotilla.testkit.personal_documents.generator import KINDS, Document, documents

__all__ = ["KINDS", "Document", "documents"]
