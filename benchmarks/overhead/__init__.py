"""What a request costs through us, beside a bare echo and what a user would pick instead."""
