"""The built-in data: drawn bodies with organs and lesions."""
