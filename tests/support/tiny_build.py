"""A build of the program without the minutes that a real one takes: empty zips, models of a few bytes."""

from pathlib import Path

from infra import bundles
from keepwarm_build import Bundle
from keepwarm_runtime.models import manifest as manifests


def tiny_build(folder: Path) -> bundles.Build:
    """Everything that the program deploys, as small as the components allow."""
    empty = folder / "empty.zip"
    empty.write_bytes(b"PK\x05\x06" + bytes(18))

    def model(name: str) -> bundles.Model:
        files = folder / name
        files.mkdir()
        (files / "model.onnx").write_bytes(name.encode() * 100)
        made = manifests.build(files, name=name, version="1.0.0")
        return bundles.Model(
            name,
            "1.0.0",
            made.canonical.decode(),
            made.digest,
            files,
            {"model.onnx": files / "model.onnx"},
        )

    functions = {
        name: Bundle(name, empty, "0" * 64, 22, 1000, runtime="python3.12", architecture="x86_64")
        for name in bundles.FUNCTIONS
    }
    image = bundles.Image(bundles.IMAGE, folder, "0" * 64, 1)
    return bundles.Build(functions, image, {name: model(name) for name in ("magika", "rapidocr")})
