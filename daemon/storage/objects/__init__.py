"""Where evidence lies: a folder or an S3 server, and the spool in front of either."""

from daemon.storage.objects.folder import FolderStore
from daemon.storage.objects.s3 import S3Store
from daemon.storage.objects.spool import Spool, SpoolFull
from daemon.storage.objects.store import ObjectMissing, ObjectStore, StoreUnavailable

__all__ = ["FolderStore", "ObjectMissing", "ObjectStore", "S3Store", "Spool", "SpoolFull", "StoreUnavailable"]
