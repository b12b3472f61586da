"""How fast the mixtures are, beside the released way written out: `python tools/bench_mixture.py` prints medians as JSON."""
import json, math, statistics, subprocess, sys, time
import torch
import torch.nn.functional as F
from protoflow.prototypes.mixture import Mixture
from protoflow.training.losses import diversity_loss


def timed(f, n=7):
    "Median seconds of `n` calls after one to warm up, and the interquartile range."
    f()
    times = []
    for _ in range(n):
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    low, median, high = statistics.quantiles(times, n=4) if n > 1 else times*3
    return median, high - low


def matmul(n=2048):
    "Seconds of an n³ float32 product, which says what the machine gives just now."
    a = torch.randn(n, n)
    median, spread = timed(lambda: a @ a)
    return dict(seconds=median, spread=spread)


def problem(Y, K, D, B=32):
    "A mixture, latents that want gradients, and labels."
    torch.manual_seed(0)
    m = Mixture(Y, K, D)
    torch.nn.init.normal_(m.log_scale, 0, 0.1)
    return m, torch.randn(B, D, requires_grad=True), torch.randint(0, Y, (B,))


def cross_entropy_step(m, z, y):
    m.zero_grad(); z.grad = None
    F.cross_entropy(m.class_log_prob(z), y).backward()


def released_step(mu, var, pi, z, y):
    "Class by class with a (B,K,D) tensor for each, as the specification describes the released code."
    for p in (*mu, *var, *pi, z): p.grad = None
    logits = []
    for mu_y, var_y, pi_y in zip(mu, var, pi):
        precision, x = var_y.rsqrt(), z[:,None]
        distance = ((mu_y*mu_y + x*x - 2*x*mu_y)*precision).sum(2)
        log_normal = -0.5*(mu_y.shape[2]*math.log(2*math.pi) + distance) + 0.5*precision.log().sum(2)
        logits.append((log_normal + pi_y.log_softmax(1)).logsumexp(1))
    F.cross_entropy(torch.stack(logits, 1), y).backward()


def cross_entropy(Y=200, K=10, D=4928, B=32, n=7, n_released=3):
    "Seconds of cross-entropy of the logits with gradients, ours and the released way."
    m, z, y = problem(Y, K, D, B)
    ours, spread = timed(lambda: cross_entropy_step(m, z, y), n)
    parameters = [[p.requires_grad_() for p in t.detach().clone()[:,None].unbind(0)] for t in (m.loc, (2*m.log_scale).exp(), m.mix_logits)]
    released, _ = timed(lambda: released_step(*parameters, z, y), n_released)
    return dict(seconds=ours, spread=spread, released_seconds=released, times_faster=released/ours)


def peak_mib(step, Y, K, D):
    "Peak memory of a step above that before it, in a process of its own, MiB; gradients of parameters included (Linux)."
    code = f'''
import sys; sys.path.insert(0, {str(__file__.rsplit("/", 1)[0])!r})
import bench_mixture as b
peak = lambda: next(int(l.split()[1])/1024 for l in open('/proc/self/status') if l.startswith('VmHWM'))
small, large = b.problem(4, 2, 64), b.problem({Y}, {K}, {D})
b.{step}(*small); before = peak(); b.{step}(*large); print(peak() - before)'''
    return float(subprocess.run([sys.executable, '-c', code], check=True, capture_output=True, text=True).stdout.split()[-1])


def diversity_step(m, z=None, y=None):
    m.zero_grad()
    diversity_loss(m).backward()


def released_diversity(mu, var):
    "Class by class with a tensor of all pairs; in the log domain here, because determinants are not finite at this size."
    for p in (*mu, *var): p.grad = None
    total, (i, j) = [], torch.triu_indices(*[len(mu[0])]*2, 1)
    for mu_y, var_y in zip(mu, var):
        mean, log_det = (var_y[i] + var_y[j])/2, var_y.log().sum(1)
        log_ratio = 0.25*(log_det[i] + log_det[j]) - 0.5*mean.log().sum(1)
        total.append((1 - torch.exp(log_ratio/mu_y.shape[1] - ((mu_y[i]-mu_y[j])**2/mean).sum(1)/(8*mu_y.shape[1]))).mean())
    (-torch.stack(total).mean()).backward()


def diversity(Y=100, K=10, D=4928, n=7, n_released=3):
    "Seconds of the diversity loss with gradients, ours and class by class."
    m, _, _ = problem(Y, K, D)
    ours, spread = timed(lambda: diversity_step(m), n)
    mu, var = ([p.requires_grad_() for p in t.detach().clone().unbind(0)] for t in (m.loc, (2*m.log_scale).exp()))
    released, _ = timed(lambda: released_diversity(mu, var), n_released)
    return dict(seconds=ours, spread=spread, released_seconds=released, times_faster=released/ours)


def scaling(n=5):
    "Seconds of cross-entropy with gradients as Y·K and as D grow, and the exponent between first and last: 1 is linear."
    def line(sizes, make):
        seconds = [timed(lambda p=make(s): cross_entropy_step(*p), n)[0] for s in sizes]
        return dict(sizes=sizes, seconds=seconds, exponent=math.log(seconds[-1]/seconds[0])/math.log(sizes[-1]/sizes[0]))
    return dict(components=line([250, 500, 1000, 2000], lambda s: problem(s//10, 10, 4928)),
                latents=line([1000, 3162, 10_000, 31_623, 100_000], lambda s: problem(10, 10, s)))


def bench():
    "Every measurement."
    return dict(matmul=matmul(), cross_entropy=cross_entropy(), cross_entropy_peak_mib=peak_mib('cross_entropy_step', 200, 10, 4928),
                diversity=diversity(), diversity_peak_mib=peak_mib('diversity_step', 100, 10, 4928), scaling=scaling(), matmul_after=matmul(), threads=torch.get_num_threads())


if __name__ == '__main__': print(json.dumps(bench(), indent=2))
