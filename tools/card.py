"""What someone with an NVIDIA card runs: the tests flagged `cuda`, then the bench on the card, into runs/cuda.json.

Without a card it says so and is content. It takes up to nine minutes.
"""
import json, statistics, subprocess, sys, time
from pathlib import Path
import torch
from bench import line, machine, matmul_rate, times
from protoflow.all import *

NOTEBOOK = '5_training/08_graphics_card'       # where the tests are
BUDGET = 9*60                                  # seconds in all
FLOP_74_10 = 3*32.9e9                          # of a training step, an image
FLOP_MEDIUM = 8.44e9
started = time.monotonic()


def left(): return BUDGET - (time.monotonic() - started)


def run_tests():
    "The last lines of the tests flagged `cuda`, and whether all passed."
    command = [sys.executable, str(Path(__file__).with_name('test.py')), NOTEBOOK, '--flags', 'cuda']
    try: run = subprocess.run(command, capture_output=True, text=True, timeout=left())
    except subprocess.TimeoutExpired: return dict(passed=False, said=['they took too long'])
    return dict(passed=run.returncode == 0, said=run.stdout.splitlines()[-40:])


def trained(flow, batch, compiled):
    "A function that makes one training step of a ProtoFlow on images of chance, in bf16 on the card."
    x, y = torch.randint(0, 256, (4*batch,3,32,32), dtype=torch.uint8), torch.arange(4*batch)%10
    data = ImageData(x, y, 256, 10)
    dls = DataLoaders('chance', ImageLoader(data, batch, True), *[ImageLoader(data, batch)]*2, list('0123456789'))
    torch.manual_seed(0)
    model = ProtoFlow.for_data(dls, flow=flow, n_prototypes=10)
    learner = Learner(model, dls, bf16=True, compiled=compiled, device='cuda', callbacks=[EMA()], n_init=256,
                      progress=False)
    learner.begin(1, 0)
    learner.call('before_fit')
    learner.training_mode()
    x, y = x[:batch].cuda(), y[:batch].cuda()
    return lambda: learner.step(x, y)


def speed(flow, batch, flop, compiled):
    "Images a second, share of a bf16 matrix product measured before and after, and memory."
    if left() < 60: return dict(note='not measured: no time was left')
    torch.cuda.empty_cache(); torch.cuda.reset_peak_memory_stats()
    begun = time.monotonic()
    step = trained(flow, batch, compiled)
    step(); torch.cuda.synchronize()
    first = time.monotonic() - begun
    before = matmul_rate(8192, torch.bfloat16, 'cuda')
    t = times(step, 7, 2)
    rate = (before + matmul_rate(8192, torch.bfloat16, 'cuda'))/2
    seconds = statistics.median(t)
    return dict(batch=batch, seconds=seconds, least=min(t), most=max(t), images_per_s=batch/seconds,
                share=flop*batch/seconds/rate, reference_gflop_per_s=rate/1e9, first_step_s=first,
                peak_gib=torch.cuda.max_memory_allocated()/2**30)


def main():
    if not torch.cuda.is_available():
        print('make cuda: there is no NVIDIA card here, so nothing was measured')
        return
    results = dict(tests=run_tests())
    print(*results['tests']['said'], sep='\n', flush=True)
    for compiled in (False, True):
        for flow,batch,flop in (('medium', 512, FLOP_MEDIUM), ('denseflow_74_10', 256, FLOP_74_10)):
            name = f'{flow}, training, bf16{", compiled" if compiled else ""}'
            try: results[name] = speed(flow, batch, flop, compiled)
            except torch.cuda.OutOfMemoryError: results[name] = dict(note=f'not measured: no memory for {batch} images')
            print(line(name, results[name]), flush=True)
    out = Path('runs/cuda.json')
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(dict(machine=machine(), seconds=time.monotonic() - started, results=results), indent=2),
                   encoding='utf-8')
    print(f'written to {out}')
    sys.exit(0 if results['tests']['passed'] else 1)


if __name__ == '__main__': main()
