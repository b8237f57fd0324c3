"""Networks in Python: forks, interrupts, copies, what is saved, what is refused. Needs no planet."""

from __future__ import annotations

import copy
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest

import planetbridging as pb
from planetbridging._binary import run_arrays
from planetbridging._loom import Network

ROOT = Path(__file__).resolve().parents[2]
TRANSFORMERS = sorted((ROOT / "golden/loom-0.80/entity/transformer").glob("*.entity"))


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def network(*layers: dict[str, Any], path: str = "own.entity", **arrays: Any) -> Any:
    """Layers with weights of ordinary size, written and loaded again."""
    rng = np.random.default_rng(0)
    found = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
    for i, layer in enumerate(layers):
        if "dense" in layer:
            wide, out = layer["dense"]["input_dim"], layer["dense"]["output_dim"]
            found[f"layers.{i}.weight"] = (rng.normal(size=(out, wide)) / wide**0.5).astype(np.float32)
            layer["dense"].setdefault("bias", False)
    model = {"planet": "pytorch", "model_id": "own", "inputs": [{"array": "x"}], "layers": list(layers)}
    run_arrays(model=model, arrays=found, output=path, entity_version=2)
    return pb.load(path)


def dense(wide: int, out: int) -> dict[str, Any]:
    return {"dense": {"input_dim": wide, "output_dim": out}}


def attention() -> Any:
    """A network with key/value caches, and a sequence for it."""
    return pb.load(pb.run_bedrock_smoke("mha").entity_path), np.random.default_rng(0).normal(size=(1, 4, 8))


def recorded_tables(path: Path) -> dict[str, bytes]:
    """The tables of a transformer in a version 1 file of the real Loom."""
    data = path.read_bytes()
    size = int.from_bytes(data[12:20], "little")
    header, body = json.loads(data[20 : 20 + size]), data[20 + size :]
    return {blob["path"]: body[blob["offset"] : blob["offset"] + blob["length"]] for blob in header["blobs"]
            if blob["path"].startswith("transformer.")}


def child(script: str, seconds: float = 60.0) -> None:
    """Runs a script of its own; `in_child(f)` calls f in a fork and waits for it, not for ever."""
    start = f"""
import os, sys, time, pickle, copy, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import numpy as np
import planetbridging as pb
def in_child(f, wait=20.0):
    p = os.fork()
    if p == 0:
        try: f()
        except BaseException as e: print(repr(e), file=sys.stderr, flush=True); os._exit(1)
        os._exit(0)
    end = time.monotonic() + wait
    while time.monotonic() < end:
        q, status = os.waitpid(p, os.WNOHANG)
        if q: assert status == 0, status; return
        time.sleep(0.02)
    os.kill(p, 9); os.waitpid(p, 0); sys.exit("the child hangs")
"""
    ran = subprocess.run([sys.executable, "-c", start + script], capture_output=True, text=True, timeout=seconds)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_every_call_works_in_a_forked_child() -> None:
    network(dense(1500, 1500), dense(1500, 1500))
    child("""
x = np.ones((40, 1500), np.float32)
n = pb.load("own.entity"); y = n.forward(x); n.decode(x)
def all_calls():
    assert (n.forward(x) == y).all() and (n.decode(x) == y).all()
    n.reset()
    m = pb.load("own.entity")
    assert (m.forward(x) == y).all()
    assert all((a == b).all() for a, b in zip(m.weights().values(), n.weights().values()))
    small = n.morph("int8"); small.save("small.entity"); small.forward(x)
    assert (pickle.loads(pickle.dumps(n)).forward(x) == y).all() and (copy.deepcopy(n).forward(x) == y).all()
    assert (type(n).deserialize_entity(n.serialize_entity()).forward(x) == y).all()
    n.topology, n.dtypes, n.weight_bytes, repr(n)
in_child(all_calls)
in_child(lambda: in_child(all_calls))
all_calls()
""")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_amid_work_does_not_hang() -> None:
    """The child gets a network that no vanished thread was about to fill in."""
    network(dense(1024, 1024), dense(1024, 1024), dense(1024, 1024))
    child("""
x = np.ones((2000, 1024), np.float32); one = x[:4]
n = pb.load("own.entity"); y = pb.load("own.entity").forward(one)
def decoding():
    try: n.decode(one)
    except RuntimeError as e: assert "forked" in str(e) and "reset()" in str(e), e
    else: raise AssertionError("went on from nothing")
    n.reset()
    assert (n.decode(one) == y).all()
for i in range(6):
    n = pb.load("own.entity")  # nothing is packed yet
    t = threading.Thread(target=n.forward, args=(x,)); t.start()
    time.sleep(0.002 * i * i)
    in_child(lambda: np.testing.assert_array_equal(n.forward(one), y)); t.join()
n = pb.load("own.entity")
t = threading.Thread(target=n.decode, args=(np.tile(x, (4, 1)),)); t.start(); time.sleep(0.2)
assert t.is_alive(); in_child(decoding); t.join()
""", 120.0)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("call", ["forward", "decode"])
def test_an_interrupt_is_answered_within_a_second(call: str) -> None:
    n = network(*[dense(1024, 1024)] * 1, *[dense(1024, 1024) for _ in range(5)])
    x, few = np.ones((3000 * (os.cpu_count() or 1), 1024), np.float32), np.ones((2, 1024), np.float32)
    y, sent = n.forward(few), []

    def interrupt() -> None:
        time.sleep(0.3)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        getattr(n, call)(x)
    answered = time.monotonic()
    thread.join()
    assert answered - sent[0] < 1.0
    # Nothing is left of the call but what says so; others do not wait for it.
    assert np.array_equal(n.forward(few), y) and time.monotonic() - answered < 5.0
    if call == "decode":
        with pytest.raises(RuntimeError, match="what decode had kept is lost: a call was interrupted; call reset"):
            n.decode(few)
        n.reset()
    assert np.array_equal(n.decode(few), y)


@pytest.mark.parametrize("how", [lambda n: pickle.loads(pickle.dumps(n)), copy.copy, copy.deepcopy,
                                 lambda n: Network.deserialize_entity(n.serialize_entity())],
                         ids=["pickle", "copy", "deepcopy", "bytes"])
@pytest.mark.parametrize("path", TRANSFORMERS, ids=lambda path: path.stem)
def test_copies_hold_everything(how: Callable[[Any], Any], path: Path) -> None:
    n = pb.load(path)
    # Three rows of the model's width.
    m, x = how(n), np.random.default_rng(0).normal(size=(1, 3, 8 if path.stem == "fp32_tied" else 32))
    assert m is not n and m.topology == n.topology and m.dtypes == n.dtypes
    assert np.array_equal(m.forward(x), n.forward(x))
    assert m.serialize_entity() == n.serialize_entity() and m.serialize_entity(1) == path.read_bytes()


def test_a_copy_goes_on_and_a_pickle_starts_afresh() -> None:
    n, x = attention()
    first = n.decode(x[:, :1])
    again, afresh = copy.copy(n), pickle.loads(pickle.dumps(n))
    assert afresh.format == again.format == n.format == "v1"
    second = n.decode(x[:, 1:2])
    assert np.array_equal(again.decode(x[:, 1:2]), second) and not np.array_equal(first, second)
    assert np.array_equal(afresh.decode(x[:, :1]), first)


@pytest.mark.parametrize("path", TRANSFORMERS, ids=lambda path: path.stem)
@pytest.mark.parametrize("morphed", [False, True])
def test_save_keeps_a_transformer(path: Path, morphed: bool) -> None:
    n = pb.load(path)
    (n.morph("int8") if morphed else n).save("saved.entity")
    tables, saved = recorded_tables(path), Path("saved.entity").read_bytes()
    assert len(tables) == (3 if "untied" in path.stem else 2) and all(table in saved for table in tables.values())
    if not morphed:  # nor is Q4_0 unpacked
        pb.load("saved.entity").save("again.entity", version=1)
        assert Path("again.entity").read_bytes() == path.read_bytes()
    assert pb.load("saved.entity").serialize_entity() == Path("saved.entity").read_bytes()


@pytest.mark.parametrize("path", TRANSFORMERS, ids=lambda path: path.stem)
def test_load_checks_every_section(path: Path) -> None:
    """The tables of a transformer too, which nothing here runs."""
    data = pb.load(path).serialize_entity()
    for at in range(64, len(data) - 64, 97):
        with pytest.raises(ValueError):
            Network.deserialize_entity(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "complex": (np.ones((1, 3)) * 1j, TypeError, r"input 0 \(complex128\): real numbers.*x\.real"),
    "masked": (np.ma.array(np.ones((1, 3)), mask=[[0, 1, 0]]), ValueError, r"input 0: 1 of its numbers are masked.*filled"),
    "None": (None, TypeError, r"input 0 \(object\).*NoneType"),
    "none inside": ([[1.0, None, 2.0]], TypeError, r"input 0 \(object\)"),
    "object": (np.array([[1, 2, 3]], object), TypeError, r"input 0 \(object\)"),
    "huge int": ([[2**70, 0, 0]], TypeError, r"input 0 \(object\)"),
    "text": ([["1", "2", "3"]], TypeError, r"input 0 \(<U1\)"),
    "bytes": (np.array([[b"1", b"2", b"3"]]), TypeError, r"input 0 \(\|S1\)"),
    "dates": (np.zeros((1, 3), "M8[D]"), TypeError, r"input 0 \(datetime64"),
    "durations": (np.zeros((1, 3), "m8[s]"), TypeError, r"input 0 \(timedelta64"),
    "records": (np.zeros((1, 3), [("a", "f4")]), TypeError, r"input 0 \(\[\('a'"),
    "void": (np.zeros((1, 3), "V4"), TypeError, r"input 0 \(\|V4\)"),
    "a dictionary": ({}, TypeError, r"input 0 \(object\).*dict"),
    "a generator": ((i for i in range(3)), TypeError, r"input 0 \(object\).*generator"),
    "ragged": ([[1.0, 2.0, 3.0], [4.0]], ValueError, "input 0: it cannot be read as an array"),
    "beyond float32": (np.array([[0.0, 1e39, 0.0]]), ValueError, r"input 0 \(float64\): \[0, 1\] is 1e\+39; float32 ends at 3\.4"),
    "long beyond float32": (np.array([[0, 0, -1e39]], np.longdouble), ValueError, r"\[0, 2\] is -1e\+39; float32 ends"),
    "NaN": (np.array([[0.0, 0.0, np.nan]]), ValueError, r"input 0 \(float64\): \[0, 2\] is nan; inputs must be finite"),
    "inf": (np.array([[-np.inf, 0, 0]], np.float16), ValueError, r"input 0 \(float16\): \[0, 0\] is -inf"),
    "2^24 + 1": (np.array([[0, 2**24 + 1, 0]]), ValueError, r"input 0 \(int64\): \[0, 1\] is 16777217; float32 has not"),
    "-2^24 - 1": (np.array([[0, -(2**24) - 1, 0]], np.int32), ValueError, r"input 0 \(int32\): \[0, 1\] is -16777217"),
    "2^63 + 1": (np.array([[2**63 + 1, 0, 0]], np.uint64), ValueError, r"input 0 \(uint64\): \[0, 0\] is 9223372036854775809"),
    "2^60 + 1": (np.array([[0, 0, 2**60 + 1]]), ValueError, r"\[0, 2\] is 1152921504606846977"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arrays_are_refused(name: str) -> None:
    n = network(dense(3, 2))
    x, kind, said = WRONG[name]
    for call in (n.forward, n.decode):
        if name != "a generator" or call == n.forward:
            with pytest.raises(kind, match=said):
                call(x)
    with pytest.raises((TypeError, ValueError)):
        pb.infer_bedrock_entity("dense", "own.entity", x)


def test_right_arrays_are_taken_as_they_are() -> None:
    n = network(dense(3, 2))
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    y = n.forward(x)
    raw = np.frombuffer(b"\0" + x.tobytes(), np.float32, offset=1).reshape(4, 3)
    for same in (x.tolist(), x.astype(int), x.astype(np.uint8), x.astype(">f8"), x.astype(np.float16), np.asfortranarray(x),
                 x.astype(np.longdouble), np.ma.array(x), np.ma.array(x, mask=False), raw, x[::-1][::-1],
                 np.repeat(x, 2, axis=1)[:, ::2]):
        assert np.array_equal(n.forward(same), y)
    exact = np.array([[-(2**63), 2**62 + 2**39, 2**24 + 2]])
    assert np.array_equal(n.forward(exact), n.forward(exact.astype(np.float32)))
    assert np.array_equal(n.forward(np.array([[True, False, True]])), n.forward([[1, 0, 1]]))


def test_inputs_that_nothing_reads_are_refused() -> None:
    n, x = network(dense(3, 3)), np.ones((1, 3))
    for call in (n.forward, n.decode):
        with pytest.raises(ValueError, match="2 inputs were given, and the network reads 1"):
            call(x, x)
    with pytest.raises(ValueError, match="reads names layer 5; the layers are 0 to 0"):
        n.forward(x, reads={5: 0})
    with pytest.raises(ValueError, match="skips names layer 0, which is dense; only a residual layer"):
        n.forward(x, skips={0: 0})
    with pytest.raises(ValueError, match="3 inputs were given, and the network reads 2"):
        n.forward(x, x, x, reads={0: 1})
    assert n.forward(x, 2 * x, reads={0: 1})[0, 0] == n.forward(2 * x)[0, 0]
    with pytest.raises(ValueError, match="mixer=True is for networks with an embedding or a residual"):
        n.forward(x, mixer=True)
    mixer = pb.load(pb.run_bedrock_smoke("mixer").entity_path)
    volume, ids = np.ones((1, 1, 2, 2, 2)), np.zeros((1, 2))
    with pytest.raises(ValueError, match="3 inputs were given, and the mixer reads 2"):
        mixer.forward(volume, ids, ids, mixer=True)
    with pytest.raises(ValueError, match="leave reads and skips out"):
        mixer.forward(volume, ids, mixer=True, reads={0: 0})


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_console_scripts_have_one_line_and_no_traceback(tmp_path: Path) -> None:
    """Whatever their outputs are, and where the program cannot be started."""
    (tmp_path / "_bin").mkdir()
    program = tmp_path / "_bin" / "loom-stream"
    program.write_text("no program\n")
    program.chmod(0o755)
    start = ("import sys; from pathlib import Path; from planetbridging import _binary; sys.argv[1:] = ['--help']; "
             f"_binary.PACKAGE = Path({str(tmp_path)!r}); _binary.loom_stream()")
    for end in ("", ">&-", "2>&-", ">/dev/full", "2>/dev/full", ">&- 2>&-"):
        ran = subprocess.run(["sh", "-c", f'"$0" -c "$1" {end}', sys.executable, start], capture_output=True, text=True)
        assert ran.returncode > 0 and "Traceback" not in ran.stderr and len(ran.stderr.splitlines()) <= 1, (end, ran)
    assert "cannot be started: Exec format error" in subprocess.run(
        [sys.executable, "-c", start], capture_output=True, text=True).stderr
