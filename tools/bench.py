"""Measure speed and memory, write runs/bench.json and print a table. Run it with nothing else on the machine.

    bench.py [PATTERN]     with PATTERN, only the measurements whose name contains it

Every time is a median of several runs, with the least and the most. Rates are also given as a share of the rate of a
2048³ float32 matrix product, measured just before and just after in the same process: shares can be compared between machines.
"""
import argparse, ctypes, gc, json, os, platform, statistics, subprocess, sys, time
from datetime import date
from pathlib import Path
import torch
import bench_mixture
from protoflow.all import *

FLOP_PER_IMAGE = 32.9e9      # of one forward pass of DenseFlow-74-10 on 3×32×32
MEASUREMENTS = {}            # name → function that returns {what: value}
TARGETS = {}                 # name → what it should reach


def measurement(target=''):
    "Decorator of a function that measures; its docstring says what."
    def add(f):
        MEASUREMENTS[f.__name__], TARGETS[f.__name__] = f, target
        return f
    return add


def sync():
    if torch.cuda.is_available(): torch.cuda.synchronize()


def times(f, n=7, warm_up=1):
    "Seconds of `n` calls of `f`, after some that do not count."
    seconds = []
    for i in range(n + warm_up):
        start = time.perf_counter()
        f(); sync()
        if i >= warm_up: seconds.append(time.perf_counter() - start)
    return seconds


def matmul_rate(size=2048, dtype=torch.float32, device='cpu'):
    "FLOP/s of a square matrix product, the median of 7."
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2*size**3/statistics.median(times(lambda: a@b, 7, 2))


def timed(f, flop=None, n=7, rate=matmul_rate):
    "Median, least and most seconds of `f` and, if it computes `flop`, its share of the matrix product's rate."
    before = rate() if flop else None
    t = times(f, n)
    out = dict(seconds=statistics.median(t), least=min(t), most=max(t))
    if flop:
        reference = (before + rate())/2
        out |= dict(gflop_per_s=flop/out['seconds']/1e9, reference_gflop_per_s=reference/1e9, share=flop/out['seconds']/reference)
    return out


def flow_74_10(checkpointing=False, device='cpu'):
    "The paper's network with ActNorm initialised, a batch of 8 images, and a function that makes one training step's gradients."
    torch.manual_seed(0)
    flow, x = DenseFlow(DenseFlowConfig.preset('denseflow_74_10'), checkpointing).to(device), torch.randint(0, 256, (8,3,32,32), device=device)
    with torch.no_grad(): flow.train()(x)
    def step():
        flow.zero_grad(set_to_none=False)
        out = flow.train()(x)
        (out.z.square().mean() - out.ldj.mean()).backward()
    return flow, x, step


@measurement('share ≥ 0.8')
def flow_evaluation():
    "DenseFlow-74-10, batch 8 of 3×32×32, evaluation"
    flow, x, _ = flow_74_10()
    flow.eval()
    with torch.no_grad(): return timed(lambda: flow(x), 8*FLOP_PER_IMAGE)


@measurement('share ≥ 0.7')
def flow_training_step():
    "DenseFlow-74-10, batch 8, forward and backward, counted as three forward passes"
    return timed(flow_74_10()[2], 3*8*FLOP_PER_IMAGE, n=5)


@measurement()
def flow_training_step_checkpointing():
    "the same, recomputing the coupling networks (the arithmetic of the recomputation is not counted)"
    return timed(flow_74_10(checkpointing=True)[2], 3*8*FLOP_PER_IMAGE, n=5)


def status(key):
    "MiB of an entry of /proc/self/status."
    return int(next(l for l in Path('/proc/self/status').read_text().splitlines() if l.startswith(key)).split()[1])/1024


def peak_of(step):
    "MiB by which the resident memory of this process rises at most during `step`."
    gc.collect(); ctypes.CDLL('libc.so.6').malloc_trim(0)
    before = status('VmRSS')
    Path('/proc/self/clear_refs').write_text('5')       # forget the peak so far
    step()
    return status('VmHWM') - before


def in_process(code):
    "What `code` prints as JSON in a new process, where `bench` is this file."
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(Path(__file__).parent), os.environ.get('PYTHONPATH', '')])}
    run = subprocess.run([sys.executable, '-c', 'import bench, json; print(json.dumps(' + code + '))'], env=env, capture_output=True, text=True)
    if run.returncode: raise RuntimeError(run.stderr)
    return json.loads(run.stdout.splitlines()[-1])


def training_memory(checkpointing):
    "MiB that a training step of the 74-10 takes above parameters, gradients and a process that has made one before with one image."
    flow, x, step = flow_74_10(checkpointing)
    small = flow.train()(x[:1]); (small.z.square().mean() - small.ldj.mean()).backward(); del small
    return peak_of(step)


@measurement('share ≤ 0.3')
def flow_training_memory():
    "MiB that one training step of DenseFlow-74-10, batch 8, takes above parameters, gradients and an idle process"
    if not Path('/proc/self/clear_refs').exists(): return dict(note='not measured: needs Linux')
    plain, recomputed = ([in_process(f'bench.training_memory({on})') for _ in range(3)] for on in (False, True))
    plain, recomputed = statistics.median(plain), statistics.median(recomputed)
    return dict(plain_mib=plain, checkpointing_mib=recomputed, share=recomputed/plain)


@measurement('≤ 0.06 s')
def tiny_training_step():
    "`tiny` on digits, batch 64: forward, loss, backward, update"
    torch.manual_seed(0)
    dls = get_dls('digits')
    learner = Learner(ProtoFlow.for_data(dls, flow='tiny', n_prototypes=5), dls, progress=False)
    learner.begin(80, 2)
    learner.model.train()
    x, y = next(iter(dls.train))
    return timed(lambda: learner.step(x, y), n=41)


@measurement('share of the time in the model ≥ 0.95')
def loader_mnist_small():
    "`small` on MNIST, batch 64, two processes that read: seconds of a step, and seconds in which it waits for its images"
    torch.manual_seed(0)
    try: dls = get_dls('mnist', download=False, num_workers=2)
    except ValueError as e: return dict(note=f'not measured: {e}')
    learner = Learner(ProtoFlow.for_data(dls, flow='small', n_prototypes=5), dls, n_init=500, progress=False)
    learner.begin(1, 0)
    learner.model.train()
    batches, waits, steps = iter(dls.train), [], []
    for i in range(16):
        start = time.perf_counter()
        x, y = next(batches)
        waits.append(time.perf_counter() - start)
        learner.step(x, y); sync()
        steps.append(time.perf_counter() - start - waits[-1])
    wait, step = sum(waits[1:]), sum(steps[1:])      # the first waits for the processes to start
    return dict(seconds=step/15, waiting=wait/15, first_wait=waits[0], share=step/(wait + step))


@measurement('each ≤ 0.5 s')
def mnist_explorers():
    "seconds of one answer of each explorer on the pretrained `mnist`, and of one explanation, its figure drawn; drawn shapes in place of digits"
    model, drawn = ProtoFlow.from_pretrained('mnist'), draw_shapes(200, size=28, channels=1, seed=0)
    data = ImageData(drawn.x, torch.arange(200)%10)
    near = model.nearest_examples(data)
    explorers = dict(prototype=prototype_explorer(model, data), traveller=latent_traveller(model, data.x[:4]), explain=explain_explorer(model, data, data),
                     abstention=abstention_explorer(model, ImageLoader(data, 100)))
    if said := {name: e.message.value for name,e in explorers.items() if e.message.value}: return dict(note=f'not measured: {said}')
    answers = {name: e.update for name,e in explorers.items()} | dict(explanation=lambda: explain(model, data[0], data, near=near))
    return {f'{name}_s': statistics.median(times(answer, 5)) for name,answer in answers.items()}


@measurement()
def small_exact_roundtrip():
    "`small`, 64 images of 1×28×28: encode and decode in float64"
    torch.manual_seed(0)
    flow, x = DenseFlow(DenseFlowConfig.preset('small')).eval(), torch.randint(0, 256, (64,1,28,28))
    return timed(lambda: flow.decode(flow.encode(x)), n=5)


@measurement('≥ 15 times the released way, or ≤ 1.1 matrix products; ≤ 300 MiB more at the peak')
def mixture_cross_entropy():
    "cross-entropy of the logits with gradients, 200 classes × 10 diagonal prototypes, D = 4928, batch 32"
    return beside_released(bench_mixture.cross_entropy(), 'cross_entropy_step', 200)


@measurement('≥ 50 times the released way, or ≤ 0.5 matrix products')
def mixture_diversity():
    "the diversity loss with gradients, 100 classes × 10 prototypes, D = 4928"
    return beside_released(bench_mixture.diversity(), 'diversity_step', 100)


def beside_released(r, step, n_classes):
    "A result of `bench_mixture`, with its peak of memory (parameters' gradients included) and its time in matrix products."
    rate = matmul_rate()
    return dict(r, matrix_products=r['seconds']*rate/(2*2048**3), peak_mib=bench_mixture.peak_mib(step, n_classes, 10, 4928), reference_gflop_per_s=rate/1e9)


@measurement('exponent 1 is linear')
def mixture_scaling():
    "the same cross-entropy as the prototypes grow from 250 to 2,000, and as D grows from 1,000 to 100,000"
    r = bench_mixture.scaling()
    return {f'{k}_{what}': (v if what == 'exponent' else [round(t, 4) for t in v]) for k,line in r.items() for what,v in line.items() if what != 'sizes'}


@measurement()
def gpu_evaluation_bf16():
    "DenseFlow-74-10, batch 8, evaluation on a GPU under bf16 autocast, as a share of an 8192³ bf16 matrix product"
    return gpu_bf16(8*FLOP_PER_IMAGE, training=False)


@measurement()
def gpu_training_step_bf16():
    "the same, forward and backward"
    return gpu_bf16(3*8*FLOP_PER_IMAGE, training=True)


def gpu_bf16(flop, training):
    if not torch.cuda.is_available(): return dict(note='not measured: no GPU')
    flow, x, step = flow_74_10(device='cuda')
    def run():
        with torch.autocast('cuda', torch.bfloat16), torch.set_grad_enabled(training): step() if training else flow.eval()(x)
    return dict(timed(run, flop, 9, lambda: matmul_rate(8192, torch.bfloat16, 'cuda')), gpu=torch.cuda.get_device_name())


def machine():
    "What the numbers were measured on."
    cpu = platform.processor() or platform.machine()
    info = Path('/proc/cpuinfo')
    if info.exists(): cpu = next((l.split(':')[1].strip() for l in info.read_text().splitlines() if l.startswith('model name')), cpu)
    return dict(date=str(date.today()), cpu=cpu, instructions=torch.backends.cpu.get_cpu_capability(), cores=os.cpu_count(), threads=torch.get_num_threads(),
                gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None, python=platform.python_version(), torch=torch.__version__)


def line(name, result):
    "One printed line of a result."
    if 'note' in result: return f'{name:36} {result["note"]}'
    return f'{name:36} ' + '  '.join(f'{k} {v:.4g}' if isinstance(v, float) else f'{k} {v}' for k,v in result.items())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('pattern', nargs='?', default='', help='part of the name of the measurements to make')
    parser.add_argument('--out', default='runs/bench.json', help='file to write')
    args = parser.parse_args()
    chosen = [name for name in MEASUREMENTS if args.pattern in name]
    if not chosen: sys.exit(f'no measurement is called {args.pattern!r}: expected part of one of {", ".join(MEASUREMENTS)}')
    out = Path(args.out)
    old = json.loads(out.read_text())['results'] if out.exists() and args.pattern else {}
    results = {}
    for name in chosen:
        results[name] = dict(what=MEASUREMENTS[name].__doc__, target=TARGETS[name], **(result := MEASUREMENTS[name]()))
        print(line(name, result), flush=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(dict(machine=machine(), results={**old, **results}), indent=2))
    print(f'written to {out}')


if __name__ == '__main__': main()
