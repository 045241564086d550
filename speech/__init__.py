"""Text to MP3, WAV to text, text to an answer."""
