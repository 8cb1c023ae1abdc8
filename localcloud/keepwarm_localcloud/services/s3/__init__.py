"""S3: buckets and objects, with the data in files that leave by sendfile."""

from keepwarm_localcloud.services.s3.service import S3Service

__all__ = ["S3Service"]
