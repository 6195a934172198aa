"""Classifiers and models of images: executed and explained, converted by coremltools alone or through ane_rms."""

from __future__ import annotations

import coremltools as ct
import numpy as np
import pytest
import torch

import ane_rms
from harness.errors import InputError
from harness.explain.fusion import of_package
from harness.interpreter import ReferenceModel

LABELS = {"strings": ["yes", "no", "perhaps"], "integers": [3, 5, 7]}


def converted(convert, module, example, **arguments):
    return convert(
        torch.jit.trace(module, example),
        compute_units=ct.ComputeUnit.CPU_AND_NE,
        minimum_deployment_target=ct.target.iOS17,
        skip_model_load=True,
        **arguments,
    )


@pytest.fixture(scope="module")
def head():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.RMSNorm(32, eps=1e-5), torch.nn.Linear(32, 3), torch.nn.Softmax(-1)).eval()


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("convert", [ct.convert, ane_rms.convert], ids=["plain", "ane_rms"])
def test_a_classifier_gives_its_label_and_probabilities(head, kind, convert, tmp_path):
    x, labels = torch.randn(1, 32), LABELS[kind]
    asked = {"inputs": [ct.TensorType("x", x.shape)], "classifier_config": ct.ClassifierConfig(labels)}
    model = converted(convert, head, x, **asked)
    model.save(str(tmp_path / "m.mlpackage"))
    with torch.inference_mode():
        expected = head(x)[0].tolist()
    for one in (model, tmp_path / "m.mlpackage"):
        got = ReferenceModel(one, "fp32").predict({"x": x.numpy()})
        assert got["classLabel"] == labels[int(np.argmax(expected))]
        assert list(got["classLabel_probs"]) == labels
        assert list(got["classLabel_probs"].values()) == pytest.approx(expected, abs=2e-3)  # the program is float16
    report = of_package(tmp_path / "m.mlpackage")
    assert (len(report.fused), bool(report.compute_units)) == (1, convert is ane_rms.convert)


class Image:
    """What the executor uses of ``PIL.Image.Image``."""

    def __init__(self, pixels):
        self.pixels = pixels

    def convert(self, mode):
        """Return the pixels, in the mode that the colour space holds."""
        assert mode == ("L" if self.pixels.ndim == 2 else "RGB")
        return self.pixels


@pytest.mark.parametrize("layout", ["RGB", "BGR", "GRAYSCALE"])
def test_an_image_is_taken_as_pixels(layout, tmp_path):
    torch.manual_seed(0)
    channels = 1 if layout == "GRAYSCALE" else 3
    net = torch.nn.Conv2d(channels, 4, 3).eval()
    example = torch.rand(1, channels, 8, 8)
    kind = ct.ImageType("image", example.shape, scale=1 / 255.0, color_layout=getattr(ct.colorlayout, layout))
    model = converted(ct.convert, net, example, inputs=[kind])
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    pixels = pixels[..., 0] if channels == 1 else pixels
    planes = (
        pixels[None, None] if channels == 1 else np.moveaxis(pixels[..., :: -1 if layout == "BGR" else 1], -1, 0)[None]
    )
    with torch.inference_mode():
        expected = net(torch.from_numpy(planes.astype(np.float32) / 255)).numpy()
    reference = ReferenceModel(model, "fp32")
    for given in (Image(pixels), planes):
        (got,) = reference.predict({"image": given}).values()
        np.testing.assert_allclose(got, expected, rtol=0, atol=5e-3)  # the program is float16
    with pytest.raises(InputError, match="expected shape"):
        reference.predict({"image": Image(pixels[:4])})
    model.save(str(tmp_path / "m.mlpackage"))
    assert of_package(tmp_path / "m.mlpackage").fused == ()
