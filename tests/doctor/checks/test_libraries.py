"""A library that is loaded twice, in parts of two versions, or from another place is found and named."""

from __future__ import annotations

from app.doctor.checks.libraries import cuda_libraries, libraries, library_path, library_paths, numpy
from tests.doctor.fake_context import CUDNN, SITE, FakeProbe, context, maps

WHEEL = [
    f"{SITE}{CUDNN}libcudnn.so.8",
    f"{SITE}{CUDNN}libcudnn_cnn_infer.so.8",
    f"{SITE}/torch/lib/libcudart-d0da41ae.so.11.0",
]
SYSTEM = "/usr/lib/x86_64-linux-gnu/"


def test_maps_are_read_once_each_and_only_libraries() -> None:
    assert library_paths(maps(*WHEEL)) == WHEEL


def test_a_name_with_a_hash_is_the_same_library() -> None:
    kinds = cuda_libraries(
        ["/a/libcudart-d0da41ae.so.11.0", "/b/libcudart.so.11.0", "/c/libcublasLt.so.11", "/d/libm.so.6"]
    )
    assert {name: len(paths) for name, paths in kinds.items()} == {"libcudart": 2, "libcublasLt": 1}


def test_wsl_loads_libcuda_in_two_pieces() -> None:
    assert cuda_libraries(["/usr/lib/wsl/lib/libcuda.so.1", "/usr/lib/wsl/drivers/nv_dispi/libcuda.so.1.1"]) == {
        "libcuda": ["/usr/lib/wsl/lib/libcuda.so.1"]
    }


def test_the_wheels_libraries_and_the_hosts_driver_pass() -> None:
    answer = libraries.look(context(FakeProbe(maps=maps(*WHEEL, f"{SYSTEM}libcuda.so.535.104.05"))))
    assert (answer.status, answer.detail) == ("pass", "4 libraries of CUDA, each once, from the locked wheels")


def test_without_a_cuda_library_the_check_skips() -> None:
    assert libraries.look(context(FakeProbe(maps=maps("/lib/libm.so.6")))).status == "skip"


def test_two_files_of_one_library_are_both_named() -> None:
    answer = libraries.look(context(FakeProbe(maps=maps(*WHEEL, f"{SYSTEM}libcudnn.so.8.6.0"))))
    assert answer.status == "fail"
    assert f"{WHEEL[0]} and {SYSTEM}libcudnn.so.8.6.0" in answer.detail


def test_parts_of_two_cudnns_are_both_named() -> None:
    answer = libraries.look(context(FakeProbe(maps=maps(*WHEEL, f"{SYSTEM}libcudnn_ops_infer.so.8"))))
    assert answer.status == "fail"
    assert f"{SYSTEM}libcudnn_ops_infer.so.8" in answer.detail
    assert SITE in answer.detail


def test_a_library_of_the_system_instead_of_the_wheels_is_a_warning() -> None:
    answer = libraries.look(context(FakeProbe(maps=maps(*WHEEL, "/usr/local/cuda/lib64/libnvrtc.so.11.2"))))
    assert (answer.status, "/usr/local/cuda/lib64/libnvrtc.so.11.2" in answer.detail) == ("warn", True)


def test_a_cudnn_of_the_system_instead_of_the_wheels_fails_and_names_both() -> None:
    answer = libraries.look(context(FakeProbe(maps=maps(f"{SYSTEM}libcudnn.so.8.9.6")), files={WHEEL[0]: ""}))
    assert answer.status == "fail"
    assert answer.detail == f"{SYSTEM}libcudnn.so.8.9.6 is loaded instead of the wheel's {WHEEL[0]}"


def test_a_convolution_that_fails_is_explained() -> None:
    error = RuntimeError("FIND was unable to find an engine to execute this computation")
    answer = libraries.look(context(FakeProbe(maps=error)))
    assert (answer.status, "cudnn-algorithm" in answer.fix) == ("fail", True)


OWN = {f"{SITE}{CUDNN}libcudnn.so.8": ""}


def test_library_path() -> None:
    def look(env: dict[str, str], *files: str) -> tuple[str, str]:
        answer = library_path.look(context(env=env, files={**OWN, **dict.fromkeys(files, "")}))
        return answer.status, answer.detail

    assert look({}) == ("pass", "LD_LIBRARY_PATH is empty")
    assert look({"LD_LIBRARY_PATH": "/a:/b/"}, "/a/libm.so.6")[0] == "pass"
    status, detail = look({"LD_LIBRARY_PATH": "/a:/b/"}, "/b/libcudnn.so.8.6.0")
    assert (status, detail) == (
        "fail",
        f"a second cuDNN, /b/libcudnn.so.8.6.0, would be mixed with the wheel's, {next(iter(OWN))}",
    )
    assert look({"LD_PRELOAD": "/x/libcudnn.so.8"})[0] == "fail"
    assert look({"LD_LIBRARY_PATH": "/a"}, "/a/libcublas.so.11")[0] == "warn"
    assert look({"LD_LIBRARY_PATH": f"{SITE}{CUDNN}"})[0] == "pass"
    assert look({"LD_LIBRARY_PATH": "/usr/local/nvidia/lib"}, "/usr/local/nvidia/lib/libcuda.so.1")[0] == "pass"


def test_numpy() -> None:
    assert numpy.look(context()).detail == "numpy 1.26.4, tensors go both ways"
    answer = numpy.look(context(FakeProbe(numpy_=RuntimeError("Numpy is not available"))))
    assert (answer.status, answer.detail) == ("fail", "RuntimeError: Numpy is not available")
    assert "numpy<2" in answer.fix
