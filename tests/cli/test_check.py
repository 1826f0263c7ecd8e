"""`--mode check`: collectives read from HLO, chips, the roofline by hand, memory by kind, and the command itself."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import launch
from cvdl_jax.cli.check import chips, collectives, compile, memory, printing, roofline, topology
from cvdl_jax.cli.check.chips import Chip
from cvdl_jax.cli.check.collectives import Collective
from cvdl_jax.config import configs
from cvdl_jax.core import parallel
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError, UserError

MESH = {"data": 2, "fsdp": 4}


FSDP, DATA, ALL = (frozenset(devices) for devices in (range(4), (0, 4), range(8)))


# Groups -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("notation", "expected"),
    [
        ("replica_groups={{0,1,2,3},{4,5,6,7}}", FSDP),
        ("replica_groups={{0, 4}, {1, 5}, {2, 6}, {3, 7}}", DATA),
        ("replica_groups={}", ALL),
        ("replica_groups=[2,4]<=[8]", FSDP),
        ("replica_groups=[1,8]<=[8], use_global_device_ids=true", ALL),
        ("replica_groups=[4,2]<=[2,4]T(1,0), to_apply=%add", DATA),
        ("replica_groups=mesh['axis_0'=2,'axis_1'=4] {'axis_1'}, dimensions={1}", FSDP),
        ("replica_groups=mesh['axis_0'=2,'axis_1'=4] {'axis_0'}", DATA),
        ("replica_groups=mesh['axis_0'=8] {'axis_0'}", ALL),
        ("replica_groups=mesh['axis_0'=2,'axis_1'=4] {'axis_0','axis_1'}", ALL),
        ("replica_groups=mesh['a'=1,'b'=1,'c'=4,'d'=2], device_ids=([2,4]T(1,0)) {'c'}, dimensions={2}", FSDP),
        ("replica_groups=mesh['a'=8] {'a':(2)4}", FSDP),
        ("replica_groups=mesh['a'=8] {'a':(1)2}", DATA),
        ("replica_groups=mesh['a'=2,'b'=4], device_ids=(0,4,1,5,2,6,3,7) {'b'}", frozenset((0, 4, 1, 5))),
        ("source_target_pairs={{0,1},{1,2},{2,3},{3,0},{4,5},{5,6},{6,7},{7,4}}", FSDP),
        ("source_target_pairs={{0,0},{1,2},{2,1},{3,3}}", frozenset((1, 2))),
        ("source_target_pairs={{2,3},{0,1},{1,2}}", frozenset(range(4))),
        ("source_target_pairs={}", frozenset()),
        ("replica_groups={{1,5},{0,4},{2,6},{3,7}}", DATA),
    ],
)
def test_groups_in_every_notation(notation, expected):
    assert collectives.first_group(f"  %x = f32[8]{{0}} all-reduce(%y), channel_id=1, {notation}", 8) == expected


def test_names_of_axes():
    assert collectives.axis_groups(MESH) == {FSDP: "fsdp", DATA: "data", ALL: "data and fsdp"}
    assert collectives.axis_groups({"data": 8, "fsdp": 1}) == {ALL: "data"}
    assert collectives.axis_groups({"data": 1, "fsdp": 8}) == {ALL: "fsdp"}


# Collectives ------------------------------------------------------------------------------------------------------

HLO = """HloModule jit_advance, is_scheduled=true

%add (x: f32[], y: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%x, %y)
}

%fused_start (param_0: f32[48,192]) -> (f32[192,192]) {
  %all-gather.1 = f32[192,192]{1,0:T(8,128)S(1)} all-gather(%param_0), channel_id=10, replica_groups=[2,4]<=[8]
}

%async_collective_fusion.7 (param_0: f32[48,192]) -> f32[192,192] {
  %all-gather.2 = f32[192,192]{1,0:T(8,128)} all-gather(%param_0), channel_id=10, replica_groups=[2,4]<=[8]
}

%all-reduce-scatter.3 (param_0: bf16[64,10]) -> bf16[16,10] {
  %all-reduce.3 = bf16[64,10]{1,0} all-reduce(%param_0), channel_id=11, replica_groups=[2,4]<=[8], to_apply=%add
  ROOT %slice = bf16[16,10]{1,0} dynamic-slice(%all-reduce.3)
}

%body (carry: (s32[], f32[100])) -> (s32[], f32[100]) {
  %all-reduce.4 = f32[100]{0} all-reduce(%gte), channel_id=12, replica_groups=[4,2]<=[2,4]T(1,0), to_apply=%add
}

%condition (carry: (s32[], f32[100])) -> pred[] {
  ROOT %less = pred[] compare(%i, %n), direction=LT
}

ENTRY %main.5_spmd (param.24: s32[], param.25: f32[48]) -> (f32[]) {
  %fusion.1 = (f32[192,192]{1,0}) fusion(%p), kind=kCustom, calls=%fused_start
  %fusion.2 = f32[192,192]{1,0} fusion(%p), kind=kOutput, calls=%async_collective_fusion.7
  %fusion.3 = bf16[16,10]{1,0} fusion(%p), kind=kCustom, calls=%all-reduce-scatter.3
  %w = (s32[], f32[100]) while(%t), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"12"}}
  %all-reduce.55 = (f32[192]{0:T(256)S(1)}, f32[5,5,1,6]{3,2,1,0:T(1,128)S(1)}, /*index=5*/f32[]{:T(128)}) \
all-reduce(%a, %b, %c), channel_id=1, replica_groups=mesh['axis_0'=8] {'axis_0'}, to_apply=%add
  %gather = (f32[4,10], f32[16,10]) all-gather-start(%d), channel_id=2, replica_groups=[2,4]<=[8], dimensions={0}
  %gathered = f32[16,10]{1,0} all-gather-done(%gather)
  %rs = s8[8,10]{1,0} reduce-scatter(%e), channel_id=3, replica_groups=[1,8]<=[8], dimensions={0}, to_apply=%add
  %cp = (pred[6], pred[6], u32[], u32[]) collective-permute-start(%f), source_target_pairs={{0,4},{4,0},{1,5},{5,1}}
  %alone = f32[99] all-reduce(%g), replica_groups={{0},{1},{2},{3},{4},{5},{6},{7}}, to_apply=%add
}
"""


def test_collectives_of_a_program():
    found = {(c.kind, c.axis): c for c in collectives.parse(HLO, MESH)}
    assert found == {
        # once for its two fusions, and the asynchronous one, whose result is the second half
        ("all-gather", "fsdp"): Collective("all-gather", "fsdp", 4, 2, 4 * 192 * 192 + 4 * 160),
        ("all-reduce", "data"): Collective("all-reduce", "data", 2, 12, 12 * 400),  # in a loop of twelve passes
        ("all-reduce", "data and fsdp"): Collective("all-reduce", "data and fsdp", 8, 1, 4 * (192 + 150 + 1)),
        ("reduce-scatter", "fsdp"): Collective("reduce-scatter", "fsdp", 4, 1, 2 * 640),  # bfloat16, fused
        ("reduce-scatter", "data and fsdp"): Collective("reduce-scatter", "data and fsdp", 8, 1, 8 * 80),
        ("collective-permute", "data"): Collective("collective-permute", "data", 2, 1, 6),
    }
    moved = [c.bytes for c in collectives.parse(HLO, MESH)]
    assert moved == sorted(moved, reverse=True)


def test_loops_are_noticed():
    assert collectives.has_loops(HLO)
    assert not collectives.has_loops(HLO.replace(" while(", " call("))


def test_no_collectives_on_one_device():
    alone = HLO.splitlines()[-2]
    assert "{{0},{1}" in alone
    assert collectives.parse(f"ENTRY %main (a: f32[]) -> f32[] {{\n{alone}\n}}", {"data": 1, "fsdp": 1}) == []


# Chips and the roofline -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("TPU v5 lite", "TPU v5e"),
        ("TPU v5e", "TPU v5e"),
        ("TPU v5", "TPU v5p"),
        ("TPU v6 lite", "TPU v6e"),
        ("TPU v4", "TPU v4"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM"),
        ("NVIDIA A100-SXM4-40GB", "A100 SXM 40 GB"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
    ],
)
def test_chips_by_the_names_that_jax_uses(kind, name):
    assert chips.find(kind).name == name


@pytest.mark.parametrize("kind", ["cpu", "NVIDIA L40", "TPU v55", "NVIDIA T400", "NVIDIA GH200 480GB", ""])
def test_no_figures_are_made_up(kind):
    assert chips.find(kind) is None


def test_figures_are_sane_and_shared_by_cores():
    for chip in chips.CHIPS.values():
        assert 1e12 < chip.f32 <= chip.bf16 < 1e16 and 2**33 < chip.memory < 2**40
        assert 1e11 < chip.bandwidth < 1e13 and 1e9 < chip.interconnect < chip.bandwidth
    core = chips.find("TPU v3").device()
    assert (core.name, core.bf16, core.memory, core.bandwidth) == ("a core of TPU v3", 61.5e12, 16 * 2**30, 450e9)
    assert chips.find("TPU v5 lite").device() == chips.find("TPU v5 lite")


CHIP = Chip("test", 100e12, 50e12, 2**34, 1e12, 1e11)


def test_the_roofline_by_hand():
    """100 TFLOP/s, 1 TB/s, 100 GB/s: 2 TFLOP are 20 ms, 5 GB are 5 ms, an all-reduce of 1 GB over 4 is 15 ms."""
    reduce = Collective("all-reduce", "data", 4, 3, 10**9)
    roof = roofline.estimate(2e12, 5e9, [reduce], CHIP, True, 4e12, 4)
    assert (roof.compute, roof.memory, roof.communication) == pytest.approx((0.02, 0.005, 0.015))
    assert roof.seconds == pytest.approx(0.035) and roof.limit == "compute"
    assert roof.mfu == pytest.approx(4e12 / (0.035 * 4 * 100e12))
    single = roofline.estimate(2e12, 5e10, [reduce], CHIP, False, 4e12, 4)
    assert (single.compute, single.seconds, single.limit) == (0.04, pytest.approx(0.065), "memory")


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        ("all-reduce", 1500),
        ("all-gather", 750),
        ("reduce-scatter", 750),
        ("all-to-all", 750),
        ("collective-permute", 1000),
    ],
)
def test_traffic_of_rings_of_four(kind, sent):
    assert roofline.traffic(Collective(kind, "data", 4, 1, 1000)) == sent


def test_the_ring_in_numpy():
    """A ring all-reduce, simulated: what each of n devices sends of B bytes."""
    n, chunks = 4, 4
    values = np.random.default_rng(0).integers(0, 9, (n, chunks, 25))
    state, sent = values.copy(), np.zeros(n)
    for phase in range(2 * (n - 1)):
        moved = [(d, (d - phase) % n if phase < n - 1 else (d + 1 - (phase - n + 1)) % n) for d in range(n)]
        payload = [state[d, c].copy() for d, c in moved]
        for (d, c), data in zip(moved, payload, strict=True):
            right = (d + 1) % n
            state[right, c] = state[right, c] + data if phase < n - 1 else data
            sent[d] += data.size
    np.testing.assert_array_equal(state, np.broadcast_to(values.sum(0), state.shape))
    assert set(sent) == {roofline.traffic(Collective("all-reduce", "data", n, 1, values[0].size))}


def test_model_flops_and_scaling():
    assert roofline.model_flops(64, 416_520, 1) == 3 * 2 * 416_520 * 64
    assert roofline.model_flops(64, None, 1000) == 2000
    four = roofline.estimate(4e12, 0, [], CHIP, True, 1.0, 4)
    sixteen = roofline.estimate(1e12, 2e10, [], CHIP, True, 1.0, 16)  # 20 ms where 10 would be perfect
    assert roofline.scaling(four, four) == 1
    assert roofline.scaling(four, sixteen) == pytest.approx(0.5)


# Memory -----------------------------------------------------------------------------------------------------------


def test_bytes_on_each_device():
    mesh = Mesh(np.asarray(jax.devices()[:1]).reshape(1, 1), ("data", "fsdp"))
    sharding = NamedSharding(mesh, PartitionSpec("fsdp"))
    tree = {
        "a": jax.ShapeDtypeStruct((8, 3), jnp.float32, sharding=sharding),
        "b": jax.ShapeDtypeStruct((5,), jnp.bfloat16),
    }
    assert memory.on_device(tree) == 8 * 3 * 4 + 5 * 2

    class Four:  # a class of its own: some packages make a SimpleNamespace a tree
        shape, dtype = (8, 3), np.dtype("float32")

        class sharding:
            shard_shape = staticmethod(lambda shape: (2, 3))

    assert memory.on_device([Four()]) == 24


def test_abstract_arrays_stay_abstract():
    mesh = parallel.make_mesh(jax.devices()[:1])
    tree = parallel.replicate({"a": jax.ShapeDtypeStruct((3,), jnp.uint8), "b": np.zeros(2)}, mesh)
    assert isinstance(tree["a"], jax.ShapeDtypeStruct) and isinstance(tree["b"], jax.Array)
    assert tree["a"].sharding == tree["b"].sharding


@pytest.fixture(scope="module")
def program():
    built = build(configs.load("configs/toy/mlp.py", ["config.model.hidden=(16,)", "config.ema.decay=0.9"]))
    return built, compile.make_program(built, compile.make_mesh(built, jax.devices()[:1], "here"))


def test_memory_by_kind(program):
    built, compiled = program
    stats = SimpleNamespace(
        argument_size_in_bytes=10**6, output_size_in_bytes=5000, alias_size_in_bytes=4000, temp_size_in_bytes=300,
        generated_code_size_in_bytes=0,
    )  # fmt: skip
    kinds = memory.by_kind(compiled, stats)
    parameters = 4 * (2 * 16 + 16 + 16 * 2 + 2)
    assert kinds["parameters"] == parameters
    assert kinds["optimizer state"] >= 2 * parameters  # Adam's two moments
    assert kinds["training data"] == 1000 * (2 * 4 + 4)
    assert kinds["data of the other splits"] == 2 * 500 * (2 * 4 + 4)
    assert kinds["indices of the batch"] == 4 * built.config.batch_size
    assert (kinds["results that replace no argument"], kinds["temporaries"]) == (1000, 300)
    assert "the program itself" not in kinds
    # everything but what is not an argument adds up to the arguments
    assert sum(kinds.values()) == 10**6 + 1000 + 300 + kinds["data of the other splits"]
    assert "temporaries" not in memory.by_kind(compiled, None)


def step(**more):
    facts = {
        "label": "v5e:2x2", "kind": "TPU v5 lite", "mesh": {"data": 4, "fsdp": 1}, "hosts": 1, "chip": CHIP,
        "seconds": 1.5, "memory": {"parameters": 2**30, "temporaries": 2**29}, "flops": 1e9, "bytes": 1e9,
        "loops": False, "collectives": (),
    }  # fmt: skip
    return compile.Step(**(facts | more))


def test_whether_it_fits():
    lines = printing.memory_lines(step(), (2**31, "published for test"))
    assert lines[0] == "memory of each device: 1.50 GiB of 2.00 GiB (published for test), 75.0 %: it fits"
    assert lines[1:] == ["  parameters     1.00 GiB", "  temporaries  512.00 MiB"]
    lines = printing.memory_lines(step(), (2**30, "published for test"))
    assert "IT DOES NOT FIT" in lines[0] and "config.remat=True" in "".join(lines)
    lines = printing.memory_lines(step(overflow="Used 20G of 15G hbm"), (2**40, ""))
    assert "IT DOES NOT FIT" in lines[0] and "Used 20G of 15G hbm" in lines[0]
    assert not printing.fits_into(step(overflow="x"), None) and printing.fits_into(step(), None)


def test_what_a_device_can_hold():
    gpu = SimpleNamespace(platform="gpu", memory_stats=lambda: {"bytes_limit": 70, "bytes_in_use": 3})
    assert memory.capacity(step(), gpu) == (70, "what JAX may use of this device")
    assert memory.capacity(step(), None) == (2**34, "published for test")
    assert memory.capacity(step(chip=None), None) is None
    cpu = SimpleNamespace(platform="cpu", memory_stats=lambda: None)
    shared, source = memory.capacity(step(), cpu)
    assert source == "of this machine's memory, shared by 4 virtual devices"
    assert 4 * shared == memory.capacity(step(mesh={"data": 1, "fsdp": 1}), cpu)[0] > 2**28


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (
            "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space hbm. Used 20.51G "
            "of 15.75G hbm. Exceeded hbm capacity by 4.76G.\n\nTotal hbm usage >= 20.76G:",
            "Used 20.51G of 15.75G hbm",
        ),
        (
            "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (36.80G) "
            "exceeds available HBM (15.75G).",
            "the total memory required for HLO temporaries (36.80G) exceeds available HBM (15.75G)",
        ),
        ("RESOURCE_EXHAUSTED: something new\nmore", "something new"),
    ],
)
def test_the_compilers_own_words(message, sentence):
    assert compile.overflow(message) == sentence


def test_comparison_of_topologies():
    steps = [step(), step(label="v5e:4x4", mesh={"data": 16, "fsdp": 1}, overflow="too much")]
    roofs = {"v5e:2x2": roofline.estimate(1e12, 0, [], CHIP, True, 1e12, 4)}
    lines = printing.comparison(steps, roofs, {"v5e:2x2": True, "v5e:4x4": False}, 64)
    assert "global batch of 64 (strong scaling), efficiency against v5e:2x2" in lines[0]
    assert lines[2].split() == "v5e:2x2 4 16 1.50 GiB yes 10.0 ms 0 s 0 s 10.0 ms 6.40 k 25.0 % 100 %".split()
    assert lines[3].split() == "v5e:4x4 16 4 > 1.50 GiB NO".split()


# Topologies -------------------------------------------------------------------------------------------------------


def test_missing_libtpu_names_the_package(monkeypatch):
    monkeypatch.setattr(topology.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(topology.metadata, "requires", lambda name: ["numpy", 'libtpu==0.0.42.*; extra == "tpu"'])
    with pytest.raises(UserError, match=r'type: pip install "libtpu==0\.0\.42\.\*"'):
        topology.prepare({})


def test_the_environment_is_prepared_and_given_values_stay(monkeypatch):
    monkeypatch.setattr(topology.importlib.util, "find_spec", lambda name: object())
    environment = {"TPU_WORKER_ID": "3", "JAX_PLATFORMS": "cuda"}
    topology.prepare(environment)
    assert environment["TPU_SKIP_MDS_QUERY"] == "1" and environment["ALLOW_MULTIPLE_LIBTPU_LOAD"] == "1"
    assert environment["TPU_WORKER_ID"] == "3" and environment["JAX_PLATFORMS"] == "cpu"


def test_names_of_topologies():
    assert topology.names("") == []
    assert topology.names("v5e:2x2, v5e:4x4") == ["v5e:2x2", "v5e:4x4"]
    for text in (",", "v5e:2x2,", "v5e:2x2,v5e:2x2"):
        with pytest.raises(ConfigError, match="different topologies separated by commas, such as v5e:4x4"):
            topology.names(text)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("v5r:4x4", "no TPU generation; did you mean 'v5"),
        ("v5litepod-16", "an accelerator type; write its topology"),
        ("v5e", "GENERATION:CHIPSxCHIPS"),
        ("v5e:5x7", "v5e is not built as 5x7"),
    ],
)
def test_wrong_topologies_are_explained(name, hint, monkeypatch):
    from jax.experimental import topologies

    def refuse(**_):
        raise jax.errors.JaxRuntimeError("INVALID_ARGUMENT: no such thing")

    monkeypatch.setattr(topologies, "get_topology_desc", refuse)
    with pytest.raises(ConfigError) as caught:
        topology.devices(name)
    message = str(caught.value)
    assert hint in message and "v5e:4x4" in message and message.endswith("(libtpu: no such thing)")


def test_a_batch_that_does_not_divide(program):
    built = program[0]
    with pytest.raises(ConfigError) as caught:
        compile.make_mesh(built, jax.devices()[:1] * 3, "v5e:3")
    size = built.config.batch_size
    up, down = -(-size // 3) * 3, size // 3 * 3
    assert str(caught.value) == (
        f"v5e:3: config.batch_size={size} is global and does not divide over 3 devices "
        f"({size} = {size // 3} x 3 + {size % 3}); add --config.batch_size={up} or --config.batch_size={down}"
    )


# The command ------------------------------------------------------------------------------------------------------


def test_check_on_this_machine(capsys):
    assert launch.main(["--mode=check", "--config=configs/toy/mlp.py", "--config.model.hidden=(16,)"]) == 0
    out = capsys.readouterr().out
    assert "experiment classify" in out and "train 1,000, validation 500, test 500 examples" in out
    assert "82 parameters trained, 0 frozen" in out
    assert "82 parameters, 64 multiply-accumulates for the forward pass of one example" in out
    assert "evaluations traced: validation, test" in out
    assert "1 x cpu, mesh (data 1, fsdp 1)" in out and "it fits" in out
    assert "no published figures are known for 'cpu': no roofline" in out


@pytest.mark.long
def test_check_of_a_run_without_steps(capsys):
    assert launch.main(["--mode=check", "--config=configs/explain/pca.py"]) == 0
    assert "this run takes no step" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "--mode check needs --config"),
        (["--config=configs/toy/mpl.py"], "did you mean 'configs/toy/mlp.py'"),
        (["--config=configs/toy/mlp.py", "--config.model.name=mpl"], "did you mean 'mlp'"),
        (["--config=configs/toy/mlp.py", "--config.data.name=xorr"], "did you mean 'xor'"),
        (["--config=configs/toy/mlp.py", "--config.select.metric=test/accuracy"], "not evaluated during training"),
        (["--config=configs/toy/mlp.py", "--topology=,"], "different topologies"),
    ],
)
def test_check_refuses_by_name(capsys, flags, words):
    assert launch.main(["--mode=check", *flags]) == 2
    assert words in capsys.readouterr().err
