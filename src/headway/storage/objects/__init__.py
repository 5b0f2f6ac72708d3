"""Places where objects live: base (what each promises), internal (the server's own)."""
