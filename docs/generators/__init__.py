"""One module a page of docs/reference/; each has ``page()``, the text in Markdown."""
