from tests.studio import api, connected, new_project, service, studio

__all__ = ["api", "connected", "new_project", "service", "studio"]
