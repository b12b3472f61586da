"""Measure speed and memory, write runs/bench.json and print a table. Run it with nothing else on the machine.

    bench.py [PATTERN]     with PATTERN, only the measurements whose name contains it

Every time is a median of several runs, with the least and the most. Rates are also given as a share of that of a 2048³
float32 matrix product, measured just before and after in the same process: shares can be compared between machines.
"""
import argparse, ctypes, gc, json, math, os, platform, re, statistics, subprocess, sys, tempfile, time
from contextlib import contextmanager
from datetime import date
from pathlib import Path
import torch
import torch.nn.functional as F
from protoflow.all import *

ROOT = Path(__file__).resolve().parent.parent
BEFORE = '3783163'           # the commit beside which a gain is measured
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
        rate = flop/out['seconds']
        out |= dict(gflop_per_s=rate/1e9, reference_gflop_per_s=reference/1e9, share=rate/reference)
    return out


def flow_74_10(checkpointing=False, device='cpu'):
    "The paper's network with ActNorm initialised, a batch of 8 images, and a function that makes a step's gradients."
    torch.manual_seed(0)
    flow = DenseFlow(DenseFlowConfig.preset('denseflow_74_10'), checkpointing).to(device)
    x = torch.randint(0, 256, (8,3,32,32), device=device)
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
    code = f'import bench, json; print(json.dumps({code}))'
    run = subprocess.run([sys.executable, '-c', code], env=env, capture_output=True, text=True)
    if run.returncode: raise RuntimeError(run.stderr)
    return json.loads(run.stdout.splitlines()[-1])


def training_memory(checkpointing):
    "MiB that a training step of the 74-10 takes above parameters, gradients and a process that has made one before."
    flow, x, step = flow_74_10(checkpointing)
    small = flow.train()(x[:1])
    (small.z.square().mean() - small.ldj.mean()).backward()
    del small
    return peak_of(step)


@measurement('share ≤ 0.3')
def flow_training_memory():
    "MiB that one training step of DenseFlow-74-10, batch 8, takes above parameters, gradients and an idle process"
    if not Path('/proc/self/clear_refs').exists(): return dict(note='not measured: needs Linux')
    plain, recomputed = ([in_process(f'bench.training_memory({on})') for _ in range(3)] for on in (False, True))
    plain, recomputed = statistics.median(plain), statistics.median(recomputed)
    return dict(plain_mib=plain, checkpointing_mib=recomputed, share=recomputed/plain)


# A training step of `tiny`, in words that the code of BEFORE understands too.
TINY_STEP = '''
import json, statistics, time, torch
from protoflow.all import *
torch.manual_seed(0)
dls = get_dls('digits')
model = ProtoFlow.for_data(dls, flow='tiny', n_prototypes=3)
learner = Learner(model, dls, callbacks=[EMA(0.99)], progress=False)
learner.begin(80, 2); learner.call('before_fit'); learner.model.train()
x, y = next(iter(dls.train))
def seconds():
    start = time.perf_counter(); learner.step(x, y)
    return time.perf_counter() - start
print(json.dumps(sorted(seconds() for _ in range(45))))
'''


@contextmanager
def code_of(commit):
    "A folder with the project as it was, or None where git does not know the commit."
    with tempfile.TemporaryDirectory() as folder:
        add = ['git', 'worktree', 'add', '--quiet', '--detach', f'{folder}/code', commit]
        if subprocess.run(add, cwd=ROOT, capture_output=True).returncode:
            yield None
            return
        try: yield f'{folder}/code'
        finally: subprocess.run(['git', 'worktree', 'remove', '--force', f'{folder}/code'], cwd=ROOT)


def run_code(code, folder):
    "What a program prints as JSON in a new process with the package of that folder."
    env = dict(os.environ, PYTHONPATH=str(folder), OMP_NUM_THREADS=str(torch.get_num_threads()))
    run = subprocess.run([sys.executable, '-c', code], cwd=folder, env=env, capture_output=True, text=True)
    if run.returncode: raise RuntimeError(run.stderr)
    return json.loads(run.stdout.splitlines()[-1])


@measurement('share of before ≤ 0.3')
def tiny_training_step():
    "`tiny` on digits, batch 64: forward, loss, backward, update, average; beside the code of before, in turn"
    now, before = [], []
    with code_of(BEFORE) as old:
        for _ in range(3):
            now += run_code(TINY_STEP, ROOT)
            if old: before += run_code(TINY_STEP, old)
    out = dict(seconds=statistics.median(now), least=min(now), most=max(now))
    if not before: return dict(out, before=f'commit {BEFORE} is not here')
    before = statistics.median(before)
    return dict(out, before_seconds=before, share_of_before=out['seconds']/before)


@measurement('share ≥ 0.65 on one thread')
def small_training_step():
    "`small` on 1×28×28, batch 64: forward and backward of the flow"
    torch.manual_seed(0)
    flow, x = DenseFlow(DenseFlowConfig.preset('small')).train(), torch.randint(0, 256, (64,1,28,28))
    with torch.no_grad(): flow(x)
    def step():
        flow.zero_grad(set_to_none=False)
        out = flow(x)
        (out.z.square().mean() - out.ldj.mean()).backward()
    return timed(step, 64*0.783e9, n=9)


@measurement('share of the time in the model ≥ 0.95')
def loader_mnist_small():
    "`small` on MNIST, batch 64, two processes that read: seconds of a step, and those in which it waits for its images"
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
    "seconds of one answer of each explorer on the pretrained `mnist`, and of one explanation with its figure"
    model, drawn = ProtoFlow.from_pretrained('mnist'), draw_shapes(200, size=28, channels=1, seed=0)
    data = ImageData(drawn.x, torch.arange(200)%10)
    near = model.nearest_examples(data)
    explorers = dict(prototype=prototype_explorer(model, data), traveller=latent_traveller(model, data.x[:4]),
                     explain=explain_explorer(model, data, data),
                     abstention=abstention_explorer(model, ImageLoader(data, 100)))
    said = {name: e.message.value for name, e in explorers.items() if e.message.value}
    if said: return dict(note=f'not measured: {said}')
    answers = {name: e.update for name, e in explorers.items()}
    answers['explanation'] = lambda: explain(model, data[0], data, near=near)
    return {f'{name}_s': statistics.median(times(answer, 5)) for name,answer in answers.items()}


@measurement()
def small_exact_roundtrip():
    "`small`, 64 images of 1×28×28: encode and decode in float64"
    torch.manual_seed(0)
    flow, x = DenseFlow(DenseFlowConfig.preset('small')).eval(), torch.randint(0, 256, (64,1,28,28))
    return timed(lambda: flow.decode(flow.encode(x)), n=5)


def mixture_problem(Y, K, D, B=32):
    "A mixture, latents that want gradients, and labels."
    torch.manual_seed(0)
    mixture = Mixture(Y, K, D)
    torch.nn.init.normal_(mixture.log_scale, 0, 0.1)
    return mixture, torch.randn(B, D, requires_grad=True), torch.randint(0, Y, (B,))


def cross_entropy_step(mixture, z, y):
    mixture.zero_grad()
    z.grad = None
    F.cross_entropy(mixture.class_log_prob(z), y).backward()


def diversity_step(mixture, z=None, y=None):
    mixture.zero_grad()
    diversity_loss(mixture).backward()


def by_class(mixture):
    "Copies of means, variances and weights, each class a parameter of its own, as the released code has them."
    whole = mixture.loc, (2*mixture.log_scale).exp(), mixture.mix_logits
    return [[p.requires_grad_() for p in t.detach().clone().unbind(0)] for t in whole]


def released_cross_entropy(mu, var, pi, z, y):
    "Class by class with a (B,K,D) tensor for each, as the specification describes the released code."
    for p in *mu, *var, *pi, z: p.grad = None
    logits = []
    for mu_y, var_y, pi_y in zip(mu, var, pi):
        precision, x = var_y.rsqrt(), z[:,None]
        distance = ((mu_y*mu_y + x*x - 2*x*mu_y)*precision).sum(2)
        log_normal = -0.5*(mu_y.shape[1]*math.log(2*math.pi) + distance) + 0.5*precision.log().sum(1)
        logits.append((log_normal + pi_y.log_softmax(0)).logsumexp(1))
    F.cross_entropy(torch.stack(logits, 1), y).backward()


def released_diversity(mu, var):
    "Class by class with a tensor of all pairs; in the log domain, because determinants are not finite at this size."
    for p in *mu, *var: p.grad = None
    losses, (i, j) = [], torch.triu_indices(*[len(mu[0])]*2, 1)
    for mu_y, var_y in zip(mu, var):
        D, mean, log_det = mu_y.shape[1], (var_y[i] + var_y[j])/2, var_y.log().sum(1)
        log_ratio = 0.25*(log_det[i] + log_det[j]) - 0.5*mean.log().sum(1)
        squared = ((mu_y[i] - mu_y[j])**2/mean).sum(1)
        losses.append((1 - torch.exp(log_ratio/D - squared/(8*D))).mean())
    (-torch.stack(losses).mean()).backward()


def mixture_peak(step, n_classes):
    "MiB that one step takes at most, gradients of parameters included, after one of a small mixture."
    problem = mixture_problem(n_classes, 10, 4928)
    globals()[step](*mixture_problem(4, 2, 64))
    return peak_of(lambda: globals()[step](*problem))


def beside_released(step, released, n_classes):
    "Seconds of a step and of the released way, the time in matrix products, and the peak of memory."
    mixture, z, y = mixture_problem(n_classes, 10, 4928)
    rate, ours = matmul_rate(), timed(lambda: step(mixture, z, y))
    mu, var, pi = by_class(mixture)
    theirs = statistics.median(times(lambda: released(mu, var, pi, z, y), 3))
    peak = in_process(f'bench.mixture_peak("{step.__name__}", {n_classes})')
    return dict(ours, released_seconds=theirs, times_faster=theirs/ours['seconds'], reference_gflop_per_s=rate/1e9,
                matrix_products=ours['seconds']*rate/(2*2048**3), peak_mib=peak)


@measurement('≥ 15 times the released way, or ≤ 1.1 matrix products; ≤ 300 MiB more at the peak')
def mixture_cross_entropy():
    "cross-entropy of the logits with gradients, 200 classes × 10 diagonal prototypes, D = 4928, batch 32"
    return beside_released(cross_entropy_step, released_cross_entropy, 200)


@measurement('≥ 50 times the released way, or ≤ 0.5 matrix products')
def mixture_diversity():
    "the diversity loss with gradients, 100 classes × 10 prototypes, D = 4928"
    return beside_released(diversity_step, lambda mu, var, *_: released_diversity(mu, var), 100)


@measurement('exponent 1 is linear')
def mixture_scaling():
    "the same cross-entropy as the prototypes grow from 250 to 2,000, and as D grows from 1,000 to 100,000"
    def seconds(*sizes):
        problem = mixture_problem(*sizes)
        return statistics.median(times(lambda: cross_entropy_step(*problem), 5))
    prototypes, latents = [250, 500, 1000, 2000], [1000, 3162, 10_000, 31_623, 100_000]
    out = {}
    for name, sizes, t in (('components', prototypes, [seconds(n//10, 10, 4928) for n in prototypes]),
                           ('latents', latents, [seconds(10, 10, n) for n in latents])):
        out[f'{name}_seconds'] = [round(v, 4) for v in t]
        out[f'{name}_exponent'] = math.log(t[-1]/t[0])/math.log(sizes[-1]/sizes[0])
    return out


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
        with torch.autocast('cuda', torch.bfloat16), torch.set_grad_enabled(training):
            step() if training else flow.eval()(x)
    result = timed(run, flop, 9, lambda: matmul_rate(8192, torch.bfloat16, 'cuda'))
    return dict(result, gpu=torch.cuda.get_device_name())


def machine():
    "What the numbers were measured on."
    info = Path('/proc/cpuinfo')
    names = re.findall(r'^model name\s*: (.+)', info.read_text(encoding='utf-8'), re.M) if info.exists() else []
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return dict(date=str(date.today()), cpu=names[0] if names else platform.machine(), cores=os.cpu_count(), gpu=gpu,
                instructions=torch.backends.cpu.get_cpu_capability(), threads=torch.get_num_threads(),
                python=platform.python_version(), torch=torch.__version__)


def line(name, result):
    "One printed line of a result."
    if 'note' in result: return f'{name:36} {result["note"]}'
    return f'{name:36} ' + '  '.join(f'{k} {v:.4g}' if isinstance(v, float) else f'{k} {v}' for k,v in result.items())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('pattern', nargs='?', default='', help='part of the name of the measurements to make')
    parser.add_argument('--out', default='runs/bench.json', help='file to write')
    parser.add_argument('--threads', type=int, help='of this process; default: as many as torch takes')
    args = parser.parse_args()
    if args.threads: torch.set_num_threads(args.threads)
    chosen = [name for name in MEASUREMENTS if args.pattern in name]
    if not chosen: sys.exit(f'no measurement is called {args.pattern!r}: expected part of {", ".join(MEASUREMENTS)}')
    out = Path(args.out)
    old = json.loads(out.read_text(encoding='utf-8'))['results'] if out.exists() and args.pattern else {}
    results = {}
    for name in chosen:
        results[name] = dict(what=MEASUREMENTS[name].__doc__, target=TARGETS[name], **(result := MEASUREMENTS[name]()))
        print(line(name, result), flush=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(dict(machine=machine(), results={**old, **results}), indent=2), encoding='utf-8')
    print(f'written to {out}')


if __name__ == '__main__': main()
