"""Orders that a shop presents as a QR code, and the claims of the phones that scanned it."""
