"""Prepared cases, kept on disk or in memory."""
