"""The fundus back end: ultra-wide and 45-degree pictures, signed requests, signs and masks."""
