"""QR codes in a terminal."""

import sys

import segno


def show_qr(text: str) -> None:
    """Draws a QR code that a scanner or phone reads off the screen."""
    segno.make_qr(text).terminal(sys.stdout, compact=True)
