"""The plugin as it is here, whether the package is installed or not."""

pytest_plugins = ["uinotify.pytest_plugin", "pytester"]
