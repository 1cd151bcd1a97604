"""What is known of cases once they were read, and what is wrong with them, alone and together."""
