"""What is in the images: versions, compilers, and nothing on standard output that the command did not say."""

from __future__ import annotations

import json

from app.host.variants import PYTHON, TORCH, TORCHAUDIO, TORCHVISION, VARIANTS
from tests.images.boxes import Boxes
from tests.images.conftest import VARIANT

VERSIONS = """
import json, sys, torch, torchvision, torchaudio
print(json.dumps({
    "python": "%d.%d" % sys.version_info[:2],
    "torch": torch.__version__, "torchvision": torchvision.__version__, "torchaudio": torchaudio.__version__,
    "cuda": torch.version.cuda, "archs": torch._C._cuda_getArchFlags().split(), "cudnn": torch.backends.cudnn.version(),
}))
"""

# A kernel compiled by the library that cuDNN 8 opens: by its bare name, and with its builtins.
NVRTC = r"""
import ctypes
nvrtc, program = ctypes.CDLL("libnvrtc.so"), ctypes.c_void_p()
source = b'extern "C" __global__ void add(float *x, float y) { x[threadIdx.x] += __expf(y); }'
assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, b"add.cu", 0, None, None) == 0
options = (ctypes.c_char_p * 1)(b"--gpu-architecture=compute_80")
code = nvrtc.nvrtcCompileProgram(program, 1, options)
size = ctypes.c_size_t()
nvrtc.nvrtcGetPTXSize(program, ctypes.byref(size))
print(code, size.value > 500)
"""

COMPILE = """
import torch
def f(x):
    return torch.sin(x).exp() * 2 + x
x = torch.linspace(-1, 1, 100)
torch.testing.assert_close(torch.compile(f)(x), f(x))
print("compiled")
"""


def test_the_versions_are_those_of_the_variants_table(boxes: Boxes, image: str) -> None:
    found = json.loads(boxes.run(image, "python", "-c", VERSIONS).text)
    promised = VARIANTS[VARIANT]
    assert found["python"] == PYTHON
    assert found["torch"] == f"{TORCH}+{VARIANT}"
    assert (found["torchvision"].split("+")[0], found["torchaudio"].split("+")[0]) == (TORCHVISION, TORCHAUDIO)
    assert found["cuda"] == promised.cuda
    assert set(promised.archs) <= set(found["archs"])
    assert found["cudnn"] == 8500  # the wheel's own, not a second one from the base


def test_output_can_be_piped(boxes: Boxes, image: str) -> None:
    """NVIDIA's entrypoint would print a banner."""
    done = boxes.run(image, "echo", "only this")
    assert (done.code, done.out, done.err) == (0, "only this\n", "")


def test_without_a_command_runtime_lists_the_verbs(boxes: Boxes, runtime: str) -> None:
    assert "train" in boxes.run(runtime).text


def test_the_package_is_baked_in(boxes: Boxes, runtime: str) -> None:
    """A cloud that mounts its own folder over /workspace loses nothing."""
    where = boxes.run(runtime, "python", "-c", "import app; print(app.__path__[0])", tmpfs={"/workspace": ""}).text
    assert where.strip() == "/opt/venv/lib/python3.10/site-packages/app"


def test_a_mounted_checkout_wins_in_dev(boxes: Boxes, dev: str) -> None:
    script = (
        "mkdir /workspace/app && touch /workspace/app/__init__.py && python -c 'import app; print(app.__path__[0])'"
    )
    assert boxes.run(dev, "sh", "-c", script).text.strip() == "/workspace/app"


def test_torch_compile_works_on_a_cpu(boxes: Boxes, runtime: str) -> None:
    """gcc, the C++ headers and a cache to write to, for a user id that nobody knows."""
    done = boxes.run(runtime, "python", "-c", COMPILE, user="12345:0", timeout=120)
    assert (done.code, done.out) == (0, "compiled\n"), done.err


def test_triton_finds_what_it_compiles_launchers_with(boxes: Boxes, image: str) -> None:
    """On a GPU Triton compiles C against Python.h; without one, the compiler can still be asked."""
    script = (
        "cd /tmp && printf '#include <Python.h>\\nint main(void) { return 0; }\\n' > launcher.c"
        " && gcc -c launcher.c -I$(python -c \"import sysconfig; print(sysconfig.get_paths()['include'])\")"
        " && whereis -b ld | cut -d: -f1"
    )
    assert boxes.run(image, "sh", "-c", script).text == "ld\n"


def test_cudnn_finds_nvrtc_by_its_bare_name(boxes: Boxes, image: str) -> None:
    assert boxes.run(image, "python", "-c", NVRTC).text == "0 True\n"


def test_dev_has_tools_and_runtime_does_not(boxes: Boxes, runtime: str, dev: str) -> None:
    script = "for tool in git sudo jupyter pytest mypy ruff invoke; do command -v $tool; done"
    there = boxes.run(dev, "sh", "-c", script).text.split()
    assert [path.rpartition("/")[2] for path in there] == ["git", "sudo", "jupyter", "pytest", "mypy", "ruff", "invoke"]
    assert boxes.run(runtime, "sh", "-c", f"{script}; true").text == ""


def test_sudo_works_in_dev(boxes: Boxes, dev: str) -> None:
    assert boxes.run(dev, "sudo", "id", "-u").text == "0\n"


def test_git_takes_a_checkout_that_is_another_users(boxes: Boxes, dev: str) -> None:
    script = "sudo git init --quiet /workspace/theirs && git -C /workspace/theirs status --porcelain && echo fine"
    assert boxes.run(dev, "sh", "-c", script).text == "fine\n"
