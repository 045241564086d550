"""Tencent COS: slides in parts, resumed where they broke off."""
