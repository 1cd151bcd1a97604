"""Named data sets from the web: what is known of them, downloads, archives."""
