"""The container of the GPU service: reads pages (OCR) over HTTP, within its capacity and the caller's deadline."""
