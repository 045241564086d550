"""The one Settings tree: read once, checked whole, secrets never printed.

Order, first wins: environment (`ORWATCH_SECTION__KEY`), systemd credentials (`$CREDENTIALS_DIRECTORY`, files named
`orwatch_section__key`), the TOML file. `${NAME}` in a TOML value is taken from the environment. A bad or unknown key
stops the start with a ConfigError that names the key, the value and what was expected.
"""

from daemon.config.loading import ConfigError, load
from daemon.config.sections import CameraSettings, ObjectSettings
from daemon.config.settings import Settings

__all__ = ["CameraSettings", "ConfigError", "ObjectSettings", "Settings", "load"]
