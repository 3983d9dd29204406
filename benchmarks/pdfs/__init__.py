"""PDFs whose text, rows and headings are known, made by several writers."""
