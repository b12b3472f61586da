"""The pictures of the front page, in nbs/images, from pretrained models: `pictures.py NAME …`, default all of them.

MNIST is found as the library finds it, see DATASET_ROOT.
"""
import sys
from pathlib import Path
import torch
from PIL import Image
from protoflow.all import *

FOLDER = Path(__file__).resolve().parents[1]/'nbs/images'
STILL, STEPS, SIDE = 8, 12, 96      # frames an end stays, frames on the way, pixels of a picture's side


def some_of(data, per_class=1, seed=0):
    "An image of each class, at random."
    g = torch.Generator().manual_seed(seed)
    places = [(data.y == c).nonzero()[:,0] for c in range(data.n_classes)]
    return [data.x[i[torch.randperm(len(i), generator=g)[:per_class]]][0] for i in places]


def strip(images, n_levels, gap=4):
    "Images (C,H,W) side by side, as a picture of PIL."
    out = Image.new('RGB', (len(images)*(SIDE + gap) - gap, SIDE), 'white')
    for i,x in enumerate(images):
        pixels = Image.fromarray((to_display(x, n_levels)*255).round().astype('uint8'))
        out.paste(pixels.resize((SIDE, SIDE), Image.Resampling.NEAREST), (i*(SIDE + gap), 0))
    return out


def morphing(name='mnist', classes=(2, 3, 4, 5, 7, 9)):
    "Images become their prototypes and come back, a moving picture."
    model, dls = ProtoFlow.from_pretrained(name), get_dls(name)
    images = [x for c,x in enumerate(some_of(dls.test.dataset)) if c in classes]
    ways = [morph(model, x, STEPS) for x in images]
    assert all(torch.equal(way.images[0], x.long()) for way,x in zip(ways, images)), 'an image did not come back'
    there = [strip(frame, dls.n_levels) for frame in zip(*(way.images for way in ways))]
    frames = [there[0]]*STILL + there + [there[-1]]*STILL + there[::-1]
    frames[0].save(FOLDER/'morph.gif', save_all=True, append_images=frames[1:], duration=90, loop=0, optimize=True)


def explanation(name='mnist', i=4):
    "Why a test image gets its class."
    model, dls = ProtoFlow.from_pretrained(name), get_dls(name)
    explain(model, dls.test[i], dls).savefig(FOLDER/'explanation.png', dpi=160, bbox_inches='tight')


def prototypes(name='digits'):
    "All prototypes of a model, with number and weight."
    show_prototypes(ProtoFlow.from_pretrained(name)).savefig(FOLDER/'prototypes.png', dpi=160, bbox_inches='tight')


PICTURES = dict(morph=morphing, explanation=explanation, prototypes=prototypes)

if __name__ == '__main__':
    import matplotlib
    matplotlib.use('agg')
    for name in sys.argv[1:] or PICTURES: PICTURES[name]()
